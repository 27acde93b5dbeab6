"""Every way in which something that answers HTTP may answer: slowly, hugely, in the wrong form, or not at all.

An answer is a coroutine that writes to an open connection. A new one joins the suite by standing in `ANSWERS`.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]

BLOCK = b"x" * 65536
SLOW_S = 0.05
"""Between two bytes of an answer that comes one byte at a time: longer than any deadline in the end."""


def raw(content: bytes) -> Write:
    """These bytes, and the connection is closed."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return write


def body(content: bytes, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> Write:
    """A well-formed answer with this body."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n{extra}"
    return raw(f"{head}connection: close\r\n\r\n".encode("latin-1") + content)


def of(value: object) -> Write:
    """A 200 with this JSON."""
    return body(json.dumps(value).encode())


def bit_by_bit(head: bytes, piece: bytes) -> Write:
    """``head``, then ``piece`` after ``piece``, for ever."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(SLOW_S)

    return write


def endless(head: bytes, piece: bytes) -> Write:
    """``head``, then ``piece`` after ``piece`` as fast as they are taken."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()

    return write


def large(head: bytes, total: int) -> Write:
    """``head`` and ``total`` bytes."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(total // len(BLOCK)):
            if writer.is_closing():
                return
            writer.write(BLOCK)
            await writer.drain()

    return write


def bomb() -> bytes:
    """400 MB of spaces in about 400 kB of gzip: one block of 4 MB, a hundred times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(b" " * (4 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\x03" + block * 100 + packer.flush() + b"\0" * 8


async def silence(writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    await asyncio.sleep(60)


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection breaks in the middle of the body."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
LOGIN = b"<!doctype html><title>Sign in</title><form action=/login method=post>" + b"<p>Welcome back</p>" * 50
SAMPLE = [1.0, "1"]


TIMES = {
    "never": "",
    "soon": "soon",
    "in a thousand years": "3026-01-01 00:00:00 UTC",
    "beyond the calendar": "99999-01-01 00:00:00 UTC",
    "before the calendar": "0001-01-01 00:00:00 +1400",
    "in a long word": "9" * 5_000,
}


LATER = {
    "before now": "-5",
    "at no number": "NaN",
    "after a number without an end": "9" * 5_000,
    "after infinity": "1e9999",
    "at a day that is over": "Wed, 21 Oct 2015 07:28:00 GMT",
    "at a day in a thousand years": "Wed, 21 Oct 3015 07:28:00 GMT",
    "at a day that does not exist": "Wed, 99 Foo 20155 99:99:99 GMT",
    "at two times": "1, 2",
    "in Arabic digits": "\u0661".encode().decode("latin-1"),
}
"""What Retry-After may say that is no number of seconds to wait."""


def answers() -> dict[str, Write]:
    """Name and answer."""
    ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    found: dict[str, Write] = {
        "nothing": raw(b""),
        "silence": silence,
        "reset in the body": reset,
        "cut off in the body": raw(f"{ok}content-length: 1000\r\n\r\n{{".encode()),
        "JSON that is cut off": raw(f'{ok}content-length: 33\r\n\r\n{{"check_runs": [{{"name": "ci / te'.encode()),
        "an endless chunk stream": endless(CHUNKED, b"10\r\n" + b" " * 16 + b"\r\n"),
        "a chunk with a wrong size": raw(CHUNKED + b"zz\r\nhello\r\n"),
        "a byte at a time": bit_by_bit(f"{ok}content-length: 100000\r\n\r\n".encode(), b" "),
        "a header byte at a time": bit_by_bit(b"HTTP/1.1 200 OK\r\nx: ", b"a"),
        "informational answers for ever": endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        "50 MB of error text": large(
            b"HTTP/1.1 500 No\r\ncontent-type: text/plain\r\ncontent-length: 52428800\r\n\r\n", 50 << 20
        ),
        "200 MB of JSON": large(f"{ok}content-length: 209715200\r\n\r\n[".encode(), 200 << 20),
        "a gzip bomb": body(bomb(), extra="content-encoding: gzip\r\n"),
        "a gzip bomb as an error": body(bomb(), "502 Bad Gateway", extra="content-encoding: gzip\r\n"),
        "gzip that is none": body(b"not gzip", extra="content-encoding: gzip\r\n"),
        "a coding that does not exist": body(b"{}", extra="content-encoding: middle-out\r\n"),
        "100 kB of one header": raw(f"{ok}x: {'a' * 200_000}\r\n\r\n{{}}".encode()),
        "10,000 headers": raw(ok.encode() + b"x: y\r\n" * 10_000 + b"\r\n{}"),
        "cookies": body(
            b"{}", extra="set-cookie: a=b; Domain=.example; Path=\x01\r\nset-cookie: =\r\nset-cookie: \xff\r\n"
        ),
        "an answer of HTTP/0.9": raw(b"hello"),
        "binary": raw(bytes(range(256)) * 8),
        "TLS": raw(b"\x15\x03\x01\x00\x02\x02\x46"),
        "status 999": body(b"{}", "999 Strange"),
        "status 000": body(b"{}", "000 Null"),
        "status -1": body(b"{}", "-1 Negative"),
        "two lengths": raw(f"{ok}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x".encode()),
        "a negative length": raw(f"{ok}content-length: -2\r\n\r\n{{}}".encode()),
        "an empty body": body(b""),
        "204": raw(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
        "a login page": body(LOGIN, kind="text/html"),
        "a login page as JSON": body(LOGIN),
        "an unknown charset": body(b"{}", kind="application/json; charset=klingon"),
        "charset idna": body('{"ü": 1}'.encode(), kind="application/json; charset=idna"),
        "500 with charset idna": body("ü" * 100 and "ü".encode() * 100, "500 No", "text/plain; charset=idna"),
        "500 with charset hex": body(b"zz", "500 No", "text/plain; charset=hex"),
        "500 with charset utf-7": body(b"+AAAA-", "500 No", "text/plain; charset=utf-7"),
        "an error with NUL and terminal codes": body(b"\x00\x1b[31mno\x07" * 50, "503 No", "text/plain"),
        "an error with invalid UTF-8": body(b"\xff\xfe\xed\xa0\x80" * 50, "400 No", "text/plain"),
        "retry-after in a thousand years": body(b"no", "429 Slow", extra="retry-after: 31556952000\r\n"),
        **{
            f"a token that ends {name}": body(
                b'{"full_name": "a/b"}', extra=f"github-authentication-token-expiration: {at}\r\n"
            )
            for name, at in TIMES.items()
        },
        **{
            f"429, to be asked again {name}": body(b"no", "429 Slow", extra=f"retry-after: {at}\r\n")
            for name, at in LATER.items()
        },
        "retry-after nonsense": body(b"no", "503 No", extra="retry-after: soon\r\n"),
        "deep nesting": body(b"[" * 200_000),
        "deep objects": body(b'{"a":' * 100_000),
        "nesting that is closed": body(b"[" * 5_000 + b"]" * 5_000),
        "cut off JSON": body(b'{"ok": true, "mess'),
        "trailing garbage": body(b'{"ok": true} {"ok": false}'),
        "duplicate keys": body(b'{"ok": true, "ok": false, "status": "success", "status": "error"}'),
        "NaN": body(b"NaN"),
        "NaN inside": body(b'{"status":"success","data":{"resultType":"scalar","result":[NaN,"1"]}}'),
        "Infinity": body(b'{"data": {"result": [Infinity, "1"]}}'),
        "a huge number": body(b"1" * 10_000),
        "a huge number inside": body(b'{"oncalls":[{"escalation_level":1e999,"user":{"summary":"x"}}]}'),
        "a huge exponent": body(b'{"dedup_key": 1e400000000}'),
        "UTF-16": body(json.dumps({"ok": True}).encode("utf-16")),
        "UTF-8 with a mark": body(b'\xef\xbb\xbf{"ok": true}'),
        "invalid UTF-8 in a string": body(b'{"token": "\xff\xfe"}'),
        "NUL in a string": of({"token": "a\0b", "dedup_key": "\0", "html_url": "\0", "body": "\0"}),
        "a lone surrogate": body(b'{"token": "\\ud800", "dedup_key": "\\ud800", "ok": true}'),
        "a NUL byte": body(b'{"ok"\x00: true}'),
        "10 MB of text": of({"token": "x" * 10_000_000, "dedup_key": "x" * 10_000_000}),
        "a million entries": body(b"[" + b"{}," * 1_000_000 + b"{}]"),
    }
    for code in (300, 301, 302, 303, 304, 307, 308):
        found[f"{code} to another host"] = body(b"", f"{code} Away", extra="location: http://127.0.0.2:9/elsewhere\r\n")
    found["302 to itself"] = body(b"", "302 Found", extra="location: ?again\r\n")
    found["302 to nowhere"] = body(b"", "302 Found", extra="location: http://[::1\r\n")
    found["401 with a hostile challenge"] = body(
        b"", "401 No", extra=f'www-authenticate: Bearer realm="http://127.0.0.2:9/",{"a=" * 20_000}\r\n'
    )
    found["401 with a broken digest"] = body(b"", "401 No", extra="www-authenticate: Digest nonce\r\n")
    found["401 with a digest of quotes"] = body(
        b"", "401 No", extra='www-authenticate: Digest realm="", nonce="' + '\\"' * 5000 + "\r\n"
    )
    for code in (400, 403, 404, 405, 409, 410, 412, 418, 422, 429, 500, 501, 502, 503, 504, 511):
        found[f"{code}"] = body(b'{"error": "no"}', f"{code} No")
    found |= {
        "401": body(b'{"message": "Bad credentials"}', "401 Unauthorized"),
        "429 with Retry-After": body(b'{"message": "no"}', "429 Too Many Requests", extra="retry-after: 1\r\n"),
        "403 with Retry-After": body(b'{"message": "no"}', "403 Forbidden", extra="retry-after: 1\r\n"),
        "403 without requests left": body(b"{}", "403 Forbidden", extra="x-ratelimit-remaining: 0\r\n"),
        "no checks, and no commits": of({"check_runs": [], "statuses": [], "status": "ahead", "total_commits": 0}),
        "lists that are empty": of({"oncalls": [], "incidents": [{}], "items": [], "results": [], "commits": []}),
    }
    shapes: list[object] = [
        None,
        True,
        0,
        -1,
        1.5,
        "text",
        "",
        [],
        {},
        [None],
        [[]],
        [{}],
        [1, 2],
        {"ok": True},
        {"ok": 1},
    ]
    shapes += [{"ok": True, "messages": one} for one in (None, 7, {}, [None], ["x"], [{"metadata": 3}])]
    shapes += [{"ok": True, "messages": [{"metadata": {"event_type": "release_fact", "event_payload": []}}]}]
    shapes += [{"ok": False}, {"ok": False, "error": {}}, {"ok": False, "error": ["x" * 10_000]}, {"ok": None}]
    shapes += [{"status": "success"}, {"status": "success", "data": None}, {"status": "error", "error": "x"}]
    for result in (None, [], {}, "x", [1], [1, 2], ["a", "b"], [None, None], [1e308, "1"], [1, "NaN"], [1, "1", 2]):
        for kind in ("scalar", "vector", "matrix", "string", None):
            shapes.append({"status": "success", "data": {"resultType": kind, "result": result}})
    for series in (
        {},
        {"metric": {}},
        {"metric": 1, "values": []},
        {"metric": {"a": 1}, "value": SAMPLE},
        {"metric": {}, "values": [[1, "x"]]},
        {"metric": {}, "values": [[1]]},
        {"metric": {}, "values": [SAMPLE] * 3},
        {"metric": {"a": "\0"}, "value": SAMPLE},
        {"metric": {}, "values": [["1", 1]]},
        {"metric": None, "values": None},
    ):
        for kind in ("vector", "matrix"):
            shapes.append({"status": "success", "data": {"resultType": kind, "result": [series]}})
    shapes += [
        {"oncalls": one}
        for one in (
            None,
            {},
            [None],
            [{}],
            [{"escalation_level": "x", "user": {}}],
            [{"escalation_level": None, "user": None}],
        )
    ]
    shapes += [{"dedup_key": one} for one in (None, [], 7)]
    shapes += [
        {"check_runs": one}
        for one in (None, {}, [None], [{}], [{"name": 7, "conclusion": 8}], [{"name": "x", "conclusion": {}}] * 100)
    ]
    shapes += [
        [{"tag_name": 1, "name": [], "body": {}}],
        [{"tag_name": "v", "body": 7}] * 100,
        [{"html_url": 5, "body": 6}],
    ]
    shapes += [
        {"results": one}
        for one in (None, {}, [None], [{}], [{"id": "1", "createdAt": "yesterday"}], [{"id": 1, "createdAt": 7}] * 100)
    ]
    shapes += [
        {"results": [{"id": "1", "createdAt": "9999-12-31T23:59:59.999999+00:00"}]},
        {"results": [{"id": "1", "createdAt": "0001-01-01T00:00:00"}]},
    ]
    shapes += [
        {"results": [{"id": "a", "snapshotId": "b", "targetClusterName": "r", "failed": []}]},
        {"id": None, "finishedAt": {}},
    ]
    shapes += [[{"environment": one}] for one in (None, 7, {}, ["production"])]
    shapes += [{"token": one} for one in (None, 7, {}, "", "two words", "new\nline", "ü")] + [{"access_token": []}]
    shapes += [
        {
            "datasetId": "a/../b?c",
            "reportId": "x" * 1000,
            "status": "completed",
            "token": "t\r\nx: y",
            "userId": "../admin",
        }
    ]
    shapes += cloud_run_shapes()
    found |= {f"JSON {number}: {json.dumps(shape)[:60]}": of(shape) for number, shape in enumerate(shapes)}
    always = {"escalation_level": 1, "user": {"summary": "Ada"}, "start": "2025-01-01T00:00:00", "end": None}
    return found | {"on call, at a time without a zone": of({"oncalls": [always]})}


SERVICE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {
        "name": "s",
        "resourceVersion": "v1",
        "generation": 1,
        "annotations": {"run.googleapis.com/operation-id": "o"},
    },
    "spec": {
        "template": {"metadata": {"name": "s-1"}, "spec": {"containers": [{"image": "i"}]}},
        "traffic": [{"revisionName": "s-1", "percent": 100}],
    },
    "status": {
        "observedGeneration": 1,
        "latestReadyRevisionName": "s-1",
        "latestCreatedRevisionName": "s-1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "traffic": [{"revisionName": "s-1", "percent": 100}],
    },
}
"""A service of Cloud Run's v1 API."""
WELL = {b"GET": of(SERVICE), b"PUT": of(SERVICE), b"POST": of({"name": "o", "done": True})}
"""What Cloud Run answers to a method where all is well."""


def cloud_run_shapes() -> list[object]:
    """Objects of Cloud Run in which one part is of another kind."""
    parts: list[object] = [None, 7, "x", [], {}, [None]]
    found: list[object] = [{**SERVICE, key: part} for key in ("metadata", "spec", "status") for part in parts]
    for key in ("traffic", "conditions"):
        found += [{**SERVICE, "status": {key: part}} for part in ({}, "x", 7, [None], [{"percent": "x"}])]
    found += [{**SERVICE, "metadata": {"annotations": part}} for part in ([], ["x"], "x", {"a": 7}, {"a": None})]
    found += [{**SERVICE, "spec": {"containers": part}} for part in (None, {}, [], [None], [{}], [{"env": 7}])]
    return found + [{"done": True, "error": part} for part in (7, "x", [], ["x"], {"code": "x"}, {"message": []})]


ANSWERS = answers()
ENDLESS = {
    "silence",
    "an endless chunk stream",
    "a byte at a time",
    "a header byte at a time",
    "informational answers for ever",
}
"""What only a deadline ends."""
WAITS = {name for name in ANSWERS if "Retry-After" in name or "asked again" in name}
"""What asks to come again in a second, which a call does as long as its deadline allows."""
SLUGS = {name: str(number) for number, name in enumerate(ANSWERS)}
"""The first part of the path at which an answer is given: a base URL may have a path, so one server gives them all."""


class Server:
    """Gives the answer that the path of a request begins with.

    ``~PUT`` at the end of a base URL: requests with that method are answered as Cloud Run does where all is well.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[str, str]] = []
        """Method and path of every request so far."""

    def url(self, name: str) -> str:
        """The base URL at which every request gets this answer."""
        return f"http://127.0.0.1:{self.port}/{SLUGS[name]}"


@asynccontextmanager
async def hostile_server() -> AsyncIterator[Server]:
    """It listens within the block, on loopback."""
    by_slug = {SLUGS[name].encode(): write for name, write in ANSWERS.items()}
    tasks: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            # An answer to a request that has not been read is lost when the connection is closed.
            await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
            slug = head.split(b" ")[1].split(b"?")[0].split(b"/")[1]
            slug, *well = slug.split(b"~")
            method = head.split(b" ")[0]
            running.seen.append((method.decode(), head.split(b" ")[1].decode()))
            await (WELL[method] if method in well else by_slug[slug])(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, KeyError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    running = Server(server.sockets[0].getsockname()[1])
    async with server:
        yield running
        ours = [one for one in tasks if one]
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
