"""Tokens of this worker from google-auth: for Google's REST, and for private services of Cloud Run."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from blocks.base import PerLoop
from blocks.google_api import translate
from blocks.http import UNREADABLE, HttpService
from playbook.errors import ReleaseError, Transient

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EVERY_STATUS = frozenset(range(300, 600))
TOKEN_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as google-auth reads it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True)
class Transport:
    """How google-auth sends, from a thread of ``loop``: with the deadline, the size limit and no redirects of ours."""

    http: HttpService
    loop: asyncio.AbstractEventLoop

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        """The answer, whatever its status. ``timeout`` is in seconds. Raises TransportError, google-auth's own."""
        from google.auth.exceptions import TransportError

        http = replace(self.http, timeout_s=min(timeout or self.http.timeout_s, self.http.timeout_s))
        sending = http.send(method, url, "for a token", EVERY_STATUS, headers=headers or {}, content=body)
        try:
            found = asyncio.run_coroutine_threadsafe(sending, self.loop).result()
        except ReleaseError as error:
            raise TransportError(str(error)) from error  # type: ignore[no-untyped-call]
        return Answer(found.status_code, found.headers, found.content)


class GoogleToken:
    """The worker's access token. It is fetched when it is needed and kept until it nears its end."""

    def __init__(self) -> None:
        self._credentials: Credentials | None = None
        self._lock = asyncio.Lock()
        self._clients: PerLoop[httpx.AsyncClient] = PerLoop()

    async def header(self, asked: str, timeout_s: float) -> dict[str, str]:
        """The header that signs a request in. ``asked`` says who is asked for what, for a message.

        Takes ``timeout_s`` seconds at most. Raises: Transient (the token server is away), Refused (no credentials).
        """
        from google.auth.exceptions import GoogleAuthError

        http = HttpService(
            "Google's sign-in",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "",
            "private_key",
            timeout_s,
            self._clients,
            url_field="token_uri",
            max_bytes=TOKEN_MAX_BYTES,
        )
        transport = Transport(http, asyncio.get_running_loop())
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                token = await asyncio.to_thread(self._fresh, transport)
        except (GoogleAuthError, TimeoutError) as error:
            raise translate(error, asked, "") from error
        except UNREADABLE as error:
            raise Transient(
                f"{asked}: Google's sign-in answered something that cannot be read ({type(error).__name__}). Ask again."
            ) from error
        return {"Authorization": f"Bearer {token}"}

    def _fresh(self, transport: Transport) -> str:
        import google.auth

        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=[SCOPE], request=transport)  # type: ignore[arg-type]
        if not self._credentials.valid:
            self._credentials.refresh(transport)  # type: ignore[no-untyped-call]
        return str(self._credentials.token)


class IdToken(GoogleToken):
    """The worker's ID token for one private service, ``audience``: its run.app URL, also for its tags' URLs.

    It goes in a header of its own, which Cloud Run checks and takes off: the application has its own Authorization.
    """

    def __init__(self, audience: str) -> None:
        super().__init__()
        self._audience = audience

    async def header(self, asked: str, timeout_s: float) -> dict[str, str]:
        """As `GoogleToken.header`."""
        signed = await super().header(asked, timeout_s)
        return {"X-Serverless-Authorization": signed["Authorization"]}

    def _fresh(self, transport: Transport) -> str:
        from google.oauth2.id_token import fetch_id_token_credentials

        if self._credentials is None:
            self._credentials = fetch_id_token_credentials(self._audience, transport)  # type: ignore[no-untyped-call]
        if not self._credentials.valid:
            self._credentials.refresh(transport)
        return str(self._credentials.token)
