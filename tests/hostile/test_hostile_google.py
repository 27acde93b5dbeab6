"""Every method of the blocks that speak gRPC x every hostile answer of a gRPC server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from answers import hostile_server
from calls import GRPC, Ends
from google.auth.credentials import AnonymousCredentials

from blocks import google_api
from playbook.errors import ReleaseError
from playbook.text import MESSAGE_MAX, clean

ENDS_S = 60.0
Reply = Callable[[Any], Awaitable[bytes]]


def reply(content: bytes) -> Reply:
    """These bytes, as the message."""

    async def answer(context: Any) -> bytes:
        return content

    return answer


def status(code: grpc.StatusCode, text: str) -> Reply:
    """An error."""

    async def answer(context: Any) -> bytes:
        await context.abort(code, text)
        raise AssertionError("abort raises")

    return answer


async def silence(context: Any) -> bytes:
    """Nothing, for a long time."""
    await asyncio.sleep(60)
    return b""


async def compressed(context: Any) -> bytes:
    """60 MB that travel as a few kilobytes."""
    context.set_compression(grpc.Compression.Gzip)
    return text_field(1, b" " * (60 << 20))


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def text_field(number: int, content: bytes) -> bytes:
    """One field of bytes, text or a nested message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def all_fields(content: bytes) -> bytes:
    """The same content in each of the first forty fields."""
    return b"".join(text_field(number, content) for number in range(1, 41))


FAR = varint(1 << 3) + varint((1 << 63) - 1)
"""A timestamp whose seconds are beyond every calendar."""
ANSWERS: dict[str, Reply] = {
    "an empty message": reply(b""),
    "garbage": reply(b"\xff" * 100),
    "cut off": reply(text_field(1, b"x" * 100)[:50]),
    "invalid UTF-8 in every field": reply(all_fields(b"\xff\xfe")),
    "NUL in every field": reply(all_fields(b"a\0b")),
    "times beyond the calendar": reply(all_fields(FAR)),
    "numbers in every field": reply(b"".join(varint(number << 3) + varint(1 << 62) for number in range(1, 41))),
    "deep nesting": reply(text_field(1, b"\x0a\x02" * 5_000)),
    "a name without an end": reply(all_fields(b"x" * 100_000)),
    "more than the limit": reply(text_field(1, b"x" * (google_api.ANSWER_MAX_BYTES + 1))),
    "a compressed bomb": compressed,
    "silence": silence,
    **{f"status {code.name}": status(code, "no") for code in grpc.StatusCode if code is not grpc.StatusCode.OK},
    "an error with a long text": status(grpc.StatusCode.INVALID_ARGUMENT, "x" * 6_000),
    "an error with odd text": status(grpc.StatusCode.PERMISSION_DENIED, "a\x1b[31m\u202eb"),
}


class Hostile(grpc.GenericRpcHandler):
    """Answers every method in the one way that is set."""

    answer: Reply = staticmethod(silence)

    def __init__(self) -> None:
        self.seen: list[str] = []
        """The name of every method that was called so far."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """As grpc asks for it."""
        self.seen.append(details.method.rpartition("/")[2])

        async def handle(request: bytes, context: Any) -> bytes:
            return await self.answer(context)

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture(scope="module")
async def hostile() -> AsyncIterator[tuple[Hostile, Ends]]:
    """The server and where it is."""
    handler = Hostile()
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with hostile_server() as rest:
        yield handler, Ends(f"127.0.0.1:{port}", f"{rest.url('nothing')}~GET~PUT~POST")
    await server.stop(0)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks' channels have their own options, and neither TLS nor an account."""

    def bounded(client: Any) -> Any:
        transport = client.get_transport_class("grpc_asyncio")
        seen: list[Any] = []

        class Recorded(transport):  # type: ignore[misc, valid-type]
            @classmethod
            def create_channel(cls, host: str, **named: Any) -> Any:
                seen.append(named["options"])
                return grpc.aio.insecure_channel(host, options=named["options"])

        class Named:
            get_transport_class = staticmethod(lambda kind: Recorded)

        made = original(Named)
        return lambda **named: made(**{**named, "credentials": AnonymousCredentials()})

    original = google_api.bounded
    monkeypatch.setattr(google_api, "bounded", bounded)


@pytest.mark.parametrize("method", GRPC)
async def test_a_hostile_answer_ends_as_a_value_or_as_our_error(
    method: str, hostile: tuple[Hostile, Ends], plain: None, without_an_account: None
) -> None:
    """Whatever the status, the bytes or the pace."""
    handler, ends = hostile
    problems = []
    for name, answer in ANSWERS.items():
        handler.answer = answer
        try:
            async with asyncio.timeout(ENDS_S):
                await GRPC[method](ends)
        except ReleaseError as error:
            if str(error) != clean(str(error)) or len(str(error)) > MESSAGE_MAX:
                problems.append(f"{name}: the message is not clean or too long")
        except TimeoutError:
            problems.append(f"{name}: it does not end")
        except Exception as error:  # noqa: BLE001  # that none of these gets out is what is tested
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    assert not problems, "\n".join(problems)
