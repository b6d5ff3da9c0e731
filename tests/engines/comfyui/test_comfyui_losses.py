"""Stops, lost sockets, lost jobs and earlier attempts: the ComfyUI engine against recordings of a real server."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from comfyui_rig import EARLIER, RED, Heard, Serve, asked, colour, engine, stepped
from fake_comfyui import FakeComfyUI, serving

from gesso.core.errors import EngineDied, EngineFailed, EngineTimeout, Stopped
from gesso.engines.comfyui import run as run_module
from gesso.engines.comfyui.server import Server


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *recordings: stack.enter_context(serving(FakeComfyUI(*recordings)))


def test_a_stop_ends_this_job_and_no_other(serve: Serve) -> None:
    fake = serve("interrupted")
    with pytest.raises(Stopped):
        stepped(fake, "interrupted").run(asked(1), Heard(stop_at=4))

    id = fake.posts()[0]["prompt_id"]
    assert (fake.said("/queue"), fake.said("/interrupt")) == ([{"delete": [id]}], [{"prompt_id": id}])


def test_a_stop_takes_a_waiting_job_from_the_queue(serve: Serve) -> None:
    fake = serve()
    fake.queued(EARLIER, "queue")
    Server(fake.url).stop(EARLIER)

    assert not Server(fake.url).is_queued(EARLIER)


def test_the_interrupt_of_another_job_disturbs_nothing(serve: Serve) -> None:
    fake = serve("interrupt_of_another")
    server = Server(fake.url)
    heard = Heard(meanwhile=lambda step: server.stop(EARLIER) if step == 4 else None)

    assert colour(stepped(fake, "interrupt_of_another").run(asked(1), heard).images[0]) == RED
    assert fake.said("/interrupt")


def test_a_job_that_somebody_else_interrupts_has_failed(serve: Serve) -> None:
    fake = serve("interrupted")
    server = Server(fake.url)
    heard = Heard(meanwhile=lambda step: server.stop(fake.posts()[0]["prompt_id"]) if step == 4 else None)

    with pytest.raises(EngineFailed, match="interrupted on the ComfyUI server"):
        stepped(fake, "interrupted").run(asked(1), heard)


def test_a_job_that_takes_too_long_is_stopped(serve: Serve) -> None:
    fake = serve("interrupted")
    with pytest.raises(EngineTimeout):
        stepped(fake, "interrupted", timeout_s=0.4).run(asked(1), Heard())

    assert fake.said("/interrupt") == [{"prompt_id": fake.posts()[0]["prompt_id"]}]


def test_a_lost_socket_is_opened_again_and_the_job_heard_to_its_end(serve: Serve) -> None:
    fake, heard = serve("reconnect"), Heard()
    made = stepped(fake, "reconnect").run(asked(1), heard)

    assert colour(made.images[0]) == RED
    assert (len(fake.posts()), len(fake.flags)) == (1, 2)
    assert heard.steps == sorted(heard.steps)


def test_a_job_that_ended_unheard_is_found_in_the_history(serve: Serve) -> None:
    fake = serve()
    fake.ended(EARLIER, "image_on_disk")
    made = engine(fake).run(asked(remembered=EARLIER), Heard())

    assert (colour(made.images[0]), made.notes["prompt_id"], fake.posts()) == (RED, EARLIER, [])


def test_a_job_of_an_earlier_attempt_that_still_waits_is_not_posted_twice(serve: Serve) -> None:
    fake = serve()
    fake.queued(EARLIER, "queue")
    made = stepped(fake, "queue").run(asked(1, remembered=EARLIER), Heard())

    assert (colour(made.images[0]), fake.posts()) == (RED, [])


@pytest.mark.parametrize("remembered", [EARLIER, "another engine's words"])
def test_a_job_that_the_server_does_not_know_is_posted_under_a_new_id(serve: Serve, remembered: str) -> None:
    fake, heard = serve("prompt_id_twice"), Heard()
    engine(fake).run(asked(remembered=remembered), heard)

    assert [each["prompt_id"] for each in fake.posts()] == heard.remembered
    assert heard.remembered != [remembered]
    assert not any("words" in path for path in fake.files)


def test_a_result_that_was_sent_while_nobody_listened_is_made_again_from_the_same_files(serve: Serve) -> None:
    fake = serve("progress_and_previews")
    fake.ended(EARLIER, "image_over_websocket")
    made = stepped(fake, "progress_and_previews").run(asked(1, remembered=EARLIER), Heard())

    assert colour(made.images[0]) == RED
    assert list(fake.files) == [f"{EARLIER}/image1.png"]


def test_a_job_that_an_earlier_attempt_stopped_is_begun_anew(serve: Serve) -> None:
    fake = serve("progress_and_previews")
    fake.ended(EARLIER, "interrupted")

    assert stepped(fake, "progress_and_previews").run(asked(1, remembered=EARLIER), Heard()).images


@pytest.mark.parametrize("remembered", [None, EARLIER])
def test_a_server_that_comes_back_soon_costs_nothing(serve: Serve, remembered: str | None) -> None:
    fake, heard = serve("image_on_disk"), Heard()
    made = engine(fake)
    fake.away = 3

    assert colour(made.run(asked(remembered=remembered), heard).images[0]) == RED
    assert (len(fake.posts()), heard.steps[:3]) == (1, [(0, 1)] * 3)


def test_a_stop_is_heard_while_the_server_is_away(serve: Serve) -> None:
    fake = serve()
    made = engine(fake)
    fake.away = 1_000_000

    with pytest.raises(Stopped):
        made.run(asked(), Heard(stop_at=0))


def test_a_result_is_fetched_as_soon_as_the_server_is_back(serve: Serve) -> None:
    fake = serve("image_on_disk")
    heard = Heard(meanwhile=lambda step: setattr(fake, "away", 2 if step == 6 else fake.away))
    made = engine(fake).run(asked(), heard)

    assert colour(made.images[0]) == RED
    assert len(fake.posts()) == 1


def test_a_server_that_goes_away_costs_the_attempt(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "AWAY_S", 0)
    made = engine(serve())
    made._server = Server("http://127.0.0.1:9")

    with pytest.raises(EngineDied):
        made.run(asked(), Heard())
