"""Tokens of this worker from google-auth: for Google's REST, and for private services of Cloud Run."""

import asyncio
from typing import TYPE_CHECKING

from blocks.google_api import translate

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleToken:
    """The worker's access token. It is fetched when it is needed and kept until it nears its end."""

    def __init__(self) -> None:
        self._credentials: Credentials | None = None
        self._lock = asyncio.Lock()

    async def header(self, asked: str, timeout_s: float) -> dict[str, str]:
        """The header that signs a request in. ``asked`` says who is asked for what, for a message.

        Takes ``timeout_s`` seconds at most. Raises: Transient (the token server is away), Refused (no credentials).
        """
        from google.auth.exceptions import GoogleAuthError

        try:
            async with asyncio.timeout(timeout_s), self._lock:
                token = await asyncio.to_thread(self._fresh)
        except (GoogleAuthError, TimeoutError) as error:
            raise translate(error, asked, "") from error
        return {"Authorization": f"Bearer {token}"}

    def _fresh(self) -> str:
        import google.auth
        from google.auth.transport.requests import Request

        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=[SCOPE])
        if not self._credentials.valid:
            self._credentials.refresh(Request())  # type: ignore[no-untyped-call]
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

    def _fresh(self) -> str:
        from google.auth.transport.requests import Request
        from google.oauth2.id_token import fetch_id_token_credentials

        if self._credentials is None:
            self._credentials = fetch_id_token_credentials(self._audience, Request())  # type: ignore[no-untyped-call]
        if not self._credentials.valid:
            self._credentials.refresh(Request())
        return str(self._credentials.token)
