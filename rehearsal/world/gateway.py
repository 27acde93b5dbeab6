"""The way from Google's own tools into a world: an HTTP CONNECT proxy that is ``*.googleapis.com`` itself.

A client that is told of this proxy and trusts the world's authority believes that it talks to Google. HTTP/2 goes to
the gRPC server, HTTP/1.1 to the REST server; a host that is not Google's is refused: nothing leaves the machine.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from rehearsal.world.identity import Authority

HOSTS = "googleapis.com"
GOOGLE_PORT = 443
MAX_HEAD = 64 * 1024
HEAD_TIMEOUT_S = 10.0
CHUNK = 64 * 1024


class Gateway:
    """The proxy on a free loopback port. ``grpc_port`` and ``rest_port`` are plain text, on loopback too."""

    def __init__(self, authority: Authority, folder: Path, grpc_port: int, rest_port: int) -> None:
        self._ports = {"h2": grpc_port, "http/1.1": rest_port}
        self._context = _context(authority, folder)
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator["Gateway"]:
        """It answers at ``port`` within the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MAX_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for connection in list(self._connections):
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):  # ssl.SSLError is an OSError
            pass  # the client went away, or does not trust us
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT_S)).decode("latin-1")
        method, target = [*head.split(maxsplit=2), "", ""][:2]
        if method != "CONNECT":
            return await _refuse(writer, "405 Method Not Allowed", "This proxy takes CONNECT only.")
        host, _, port = target.rpartition(":")
        if not is_ours(host) or port != str(GOOGLE_PORT):
            sentence = f"{target} is not part of the rehearsal, and nothing leaves this machine."
            return await _refuse(writer, "403 Forbidden", sentence)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self._context)
        spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        upstream = await asyncio.open_connection("127.0.0.1", self._ports[spoken or "http/1.1"])
        try:
            await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))
        finally:
            upstream[1].close()


def is_ours(host: str) -> bool:
    """Whether the world stands in for this host: one label before ``googleapis.com``, as the certificate says."""
    label, _, rest = host.lower().partition(".")
    return bool(label) and rest == HOSTS


def _context(authority: Authority, folder: Path) -> ssl.SSLContext:
    key, certificate = authority.server_credentials(f"*.{HOSTS}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "googleapis.pem"
    path.touch(mode=0o600)
    path.write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything that is read is written, until the end of what there is to read."""
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def _refuse(writer: asyncio.StreamWriter, status: str, sentence: str) -> None:
    body = f"{sentence}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
