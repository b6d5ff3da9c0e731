"""One POST, against receivers from hell on this machine."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from receiver import Answer, Gigabyte, Receiver, drip, endless_headers, hang, listen, trusting

from gesso.files.addresses import Policy
from gesso.webhooks.posting import NotAnswered, Post

pytestmark = pytest.mark.anyio
HEADERS = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
BODY = b'{"status": "succeeded"}'


@pytest.fixture
def post(receiver: Receiver, authority: trustme.CA) -> Post:
    return post_of(receiver, authority)


def post_of(
    receiver: Receiver, authority: trustme.CA, lookup: Any = lambda _: ["127.0.0.1"], deadline_s: float = 5.0
) -> Post:
    policy = Policy(allow_ports=(receiver.port,), allow_hosts=("hooks.example",))
    return Post(policy, deadline_s=deadline_s, ssl_context=trusting(authority), lookup=lookup)


async def why(post: Post, url: str) -> str:
    """Why no answer came."""
    with pytest.raises(NotAnswered) as raised:
        await post(url, HEADERS, BODY)
    return str(raised.value)


async def test_a_body_is_posted_as_it_is_with_these_headers_and_no_others(receiver: Receiver, post: Post) -> None:
    assert await post(receiver.says("/a?b=%2F", 204), HEADERS, BODY) == 204

    (told,) = receiver.told
    assert (told.method, told.path, told.body) == ("POST", "/a?b=%2F", BODY)
    assert told.headers == HEADERS | {
        "host": f"hooks.example:{receiver.port}",
        "user-agent": "gesso",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


@pytest.mark.parametrize("status", [200, 299, 404, 410, 500, 503])
async def test_the_status_is_the_answer(receiver: Receiver, post: Post, status: int) -> None:
    assert await post(receiver.says("/a", status), HEADERS, BODY) == status


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data/", "https://127.0.0.2:{port}/", "/b"])
async def test_W08_a_redirect_is_an_answer_and_is_not_followed(
    receiver: Receiver, post: Post, bystander: Callable[[], bool], location: str
) -> None:
    head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {location.format(port=receiver.port)}\r\nContent-Length: 0\r\n\r\n"

    assert await post(receiver.says("/a", head.encode()), HEADERS, BODY) == 307
    assert receiver.connections == 1
    assert not bystander()


@pytest.mark.parametrize("name", ["127.0.0.2", "inside.example", "[::ffff:127.0.0.2]", "0x7f000002", "2130706434"])
async def test_a_private_address_is_refused_without_a_packet(
    receiver: Receiver, authority: trustme.CA, bystander: Callable[[], bool], name: str
) -> None:
    post = post_of(receiver, authority, lambda _: ["127.0.0.2"])

    assert await why(post, f"https://{name}:{receiver.port}/") == "refused"
    assert not bystander()


async def test_a_name_is_looked_up_once_for_each_attempt(receiver: Receiver, authority: trustme.CA) -> None:
    asked: list[str] = []

    def lookup(name: str) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"]

    post = post_of(receiver, authority, lookup)
    await post(receiver.url(), HEADERS, BODY)
    await post(receiver.url(), HEADERS, BODY)

    assert asked == ["hooks.example"] * 2


async def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, post: Post, bystander: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.2:{receiver.port}")

    assert await post(receiver.url(), HEADERS, BODY) == 204
    assert not bystander()


@pytest.mark.parametrize("answer", [hang, drip], ids=["hangs", "drips"])
async def test_W07_a_receiver_that_takes_its_time_is_left_at_the_deadline(
    receiver: Receiver, authority: trustme.CA, answer: Answer
) -> None:
    began = time.monotonic()

    assert await why(post_of(receiver, authority, deadline_s=0.3), receiver.says("/a", answer)) == "timeout"
    assert 0.25 < time.monotonic() - began < 1


async def test_W07_a_name_server_that_takes_its_time_is_left_at_the_deadline(
    receiver: Receiver, authority: trustme.CA
) -> None:
    def slowly(_: str) -> list[str]:
        time.sleep(1)
        return ["127.0.0.1"]

    assert await why(post_of(receiver, authority, slowly, deadline_s=0.2), receiver.url()) == "timeout"
    assert receiver.connections == 0


async def test_W07_a_gigabyte_is_answered_for_by_its_first_line_and_not_read(receiver: Receiver, post: Post) -> None:
    endless, began = Gigabyte(), time.monotonic()

    assert await post(receiver.says("/a", endless), HEADERS, BODY) == 200
    assert time.monotonic() - began < 2
    assert endless.sent < 20_000_000  # what the buffers of two kernels' ends take


BROKEN: dict[str, Answer] = {
    "nothing": b"",
    "a banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": bytes(range(256)) * 100,
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "endless headers": endless_headers,
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_is_none(receiver: Receiver, post: Post, answer: Answer) -> None:
    assert await why(post, receiver.says("/a", answer)) == "unreachable"


async def test_a_certificate_for_another_name_is_not_trusted(authority: trustme.CA) -> None:
    other = Receiver()
    server = await listen(other, authority, "wrong.example")

    assert await why(post_of(other, authority), other.url()) == "unreachable"
    assert other.told == []
    server.close()


async def test_a_closed_port_and_a_name_without_address_are_unreachable(authority: trustme.CA) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = Receiver(port=listener.getsockname()[1])

    assert await why(post_of(gone, authority), gone.url()) == "unreachable"
    assert await why(post_of(gone, authority, lambda _: []), gone.url()) == "unreachable"
