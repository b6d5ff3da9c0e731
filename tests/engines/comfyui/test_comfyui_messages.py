"""What single messages of a ComfyUI server mean for a job."""

import json
import struct
from typing import Any

import pytest
from fake_comfyui import jobs, picture

from gesso.engines.comfyui.messages import Job

OWN, OTHER = "own", "another"
PNG = picture({"format": "PNG", "size": [8, 8]})


@pytest.fixture
def job() -> Job:
    """Four nodes: 1 and 3 prepare, 7 takes 4 steps, 9 is the output."""
    return Job(OWN, jobs("progress_and_previews")[0].graph, "9")


def text(kind: str, **about: Any) -> str:
    return json.dumps({"type": kind, "data": about})


def with_metadata(node: str) -> bytes:
    about = json.dumps({"node_id": node, "image_type": "image/png"}).encode()
    return struct.pack(">II", 4, len(about)) + about + PNG


def test_the_first_executing_after_a_reconnect_names_no_job_and_means_this_one(job: Job) -> None:
    job.hear(text("executing", node="9"))
    job.hear(struct.pack(">II", 1, 2) + PNG)

    assert job.results == [PNG]


@pytest.mark.parametrize("kind", ["status", "feature_flags", "another_of_the_server"])
def test_what_names_no_job_is_no_sign_of_life_of_this_one(job: Job, kind: str) -> None:
    assert not job.hear(text(kind, supports_preview_metadata=True))
    assert job.hear(text("execution_start", prompt_id=OWN))


@pytest.mark.parametrize("kind", ["execution_success", "execution_error", "execution_interrupted"])
def test_the_end_of_another_job_is_not_this_ones(job: Job, kind: str) -> None:
    assert not job.hear(text(kind, prompt_id=OTHER))
    assert job.ended is None
    assert job.hear(text(kind, prompt_id=OWN))
    assert job.ended


def test_a_png_of_another_node_than_the_output_is_a_preview(job: Job) -> None:
    job.hear(with_metadata("7"))
    preview = job.take_preview()

    assert (preview and preview.size, job.results) == ((8, 8), [])
    assert job.take_preview() is None


def test_a_node_that_starts_again_takes_no_progress_back(job: Job) -> None:
    job.hear(text("execution_cached", nodes=["1", "3"], prompt_id=OWN))
    job.hear(text("progress", node="7", value=3, max=4, prompt_id=OWN))
    reached = job.step
    job.hear(text("progress", node="7", value=1, max=2, prompt_id=OWN))

    assert (reached, job.step, job.of) == (5, 5, 7)


@pytest.mark.parametrize(
    "message", [b"", struct.pack(">II", 3, 0), struct.pack(">II", 1, 1) + b"no picture", '{"type": "new"}']
)
def test_messages_of_unknown_kinds_and_broken_previews_change_nothing(job: Job, message: str | bytes) -> None:
    job.hear(message)

    assert (job.step, job.ended, job.results, job.take_preview()) == (0, None, [], None)
