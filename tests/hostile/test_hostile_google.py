"""Every method of the blocks that speak gRPC x every hostile answer of a gRPC server."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from calls import GOOGLE, public_methods
from google.auth.credentials import AnonymousCredentials
from pydantic import SecretStr

from blocks import CloudLogging, CloudRun, SecretManager, google_api
from playbook.errors import ReleaseError
from playbook.text import MESSAGE_MAX, clean

DEADLINE_S = 0.6
ENDS_S = 20.0
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

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """As grpc asks for it."""

        async def handle(request: bytes, context: Any) -> bytes:
            return await self.answer(context)

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture(scope="module")
async def hostile() -> AsyncIterator[tuple[Hostile, str]]:
    """The server and its address."""
    handler = Hostile()
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
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


def cloud_run(endpoint: str) -> Any:
    """One project's services."""
    return CloudRun(
        project="p", region="r", api_endpoint=endpoint, read_timeout_s=DEADLINE_S, write_timeout_s=DEADLINE_S
    )


def cloud_logging(endpoint: str) -> Any:
    """One project's logs."""
    return CloudLogging(project="p", api_endpoint=endpoint, timeout_s=DEADLINE_S)


def secret_manager(endpoint: str) -> Any:
    """One project's secrets."""
    return SecretManager(project="p", api_endpoint=endpoint, timeout_s=DEADLINE_S)


VERSION = "projects/p/secrets/s/versions/latest"
CALLS: dict[str, Callable[[str], Awaitable[Any]]] = {
    "CloudLogging.errors": lambda at: cloud_logging(at).errors("s", "r", time.time()),
    "CloudLogging.oom_kills": lambda at: cloud_logging(at).oom_kills("s", "r", time.time()),
    "SecretManager.state": lambda at: secret_manager(at).state("s"),
    "SecretManager.value": lambda at: secret_manager(at).value(VERSION),
    "SecretManager.holds": lambda at: secret_manager(at).holds("s", SecretStr("x")),
    "SecretManager.put": lambda at: secret_manager(at).put("s", SecretStr("x")),
    "CloudRun.snapshot": lambda at: cloud_run(at).snapshot("s"),
    "CloudRun.revision": lambda at: cloud_run(at).revision("s", "s-1"),
    "CloudRun.revisions": lambda at: cloud_run(at).revisions("s"),
    "CloudRun.can_write": lambda at: cloud_run(at).can_write("s"),
}
ELSEWHERE = {
    "CloudRun.write": "its calls are those of snapshot and revision, and one write; tests/chaos has its faults"
}


def test_every_method_that_speaks_grpc_has_an_example_call() -> None:
    """A new method joins with one line in CALLS."""
    wanted = {name for name in public_methods() if name in GOOGLE} - set(ELSEWHERE)
    assert set(CALLS) == wanted, "add an example call to tests/hostile/test_hostile_google.py, or remove it"


@pytest.mark.parametrize("method", CALLS)
async def test_a_hostile_answer_ends_as_a_value_or_as_our_error(
    method: str, hostile: tuple[Hostile, str], plain: None
) -> None:
    """Whatever the status, the bytes or the pace."""
    handler, address = hostile
    problems = []
    for name, answer in ANSWERS.items():
        handler.answer = answer
        try:
            async with asyncio.timeout(ENDS_S):
                await CALLS[method](address)
        except ReleaseError as error:
            if str(error) != clean(str(error)) or len(str(error)) > MESSAGE_MAX:
                problems.append(f"{name}: the message is not clean or too long")
        except TimeoutError:
            problems.append(f"{name}: it does not end")
        except Exception as error:  # noqa: BLE001  # that none of these gets out is what is tested
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    assert not problems, "\n".join(problems)
