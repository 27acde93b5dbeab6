"""A call to Google: its library is loaded late, and what it raises comes out as this project's errors."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playbook.errors import Conflict, Refused, ReleaseError, Transient

# google.rpc.Code, as a finished operation reports it.
CONFLICT = frozenset({6, 10})  # ALREADY_EXISTS, ABORTED
TRANSIENT = frozenset({1, 2, 4, 8, 13, 14})  # CANCELLED, UNKNOWN, DEADLINE, EXHAUSTED, INTERNAL, UNAVAILABLE


@asynccontextmanager
async def calling(module: str, asked: str, permission: str, *, is_write: bool = False) -> AsyncIterator[None]:
    """``module`` is loaded, beside the loop (run_v2 takes two seconds, once); Google's errors come out as ours.

    ``asked`` says who was asked for what (``Cloud Run, asked for ethixai-backend``); ``permission`` is what it needs.
    Raises: Transient, Conflict (only where ``is_write``), Refused.
    """
    await asyncio.to_thread(importlib.import_module, module)
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        raise translate(error, asked, permission, is_write=is_write) from error


def translate(error: Exception, asked: str, permission: str, *, is_write: bool = False) -> ReleaseError:
    """The error of ours that says what to do about ``error``. Total: an error that is not known is Refused.

    A read has nothing that could have moved under it: where it is aborted it is asked again.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    came = f"{asked}: {type(error).__name__}: {_text(error)}"
    if isinstance(error, auth.GoogleAuthError):
        if isinstance(error, auth.TransportError | auth.TimeoutError) or getattr(error, "retryable", False):
            return Transient(f"{came} Google's sign-in did not answer; ask again.")
        return Refused(f"{came} Set GOOGLE_APPLICATION_CREDENTIALS to a key, or run as a service account.")
    if isinstance(error, api.Conflict | api.PreconditionFailed):
        if not is_write:
            return Transient(f"{came} Ask again.")
        return Conflict(f"{came} It changed since it was read; read it again.")
    if isinstance(error, api.Forbidden):
        return Refused(f"{came} Grant {permission} to the account of this worker.")
    if isinstance(error, api.Unauthorized):
        return Refused(f"{came} The credentials of this worker are not valid; renew GOOGLE_APPLICATION_CREDENTIALS.")
    if isinstance(error, api.NotFound):
        return Refused(f"{came} Check the project, the region and the name in the environment file.")
    if isinstance(error, api.MethodNotImplemented):
        return Refused(f"{came} This endpoint does not do that; check api_endpoint in the environment file.")
    if isinstance(error, api.ServerError | api.TooManyRequests | api.Cancelled | api.RetryError | TimeoutError):
        return Transient(f"{came} It was away, slow or busy; ask again.")
    return Refused(f"{came} Correct what was asked.")


def _text(error: Exception) -> str:
    """The vendor's own sentence, ended with a full stop."""
    text = str(getattr(error, "message", "") or error).strip()
    return text if not text or text.endswith(".") else text + "."
