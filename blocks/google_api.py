"""A call to Google: its library is loaded late, and what it raises comes out as this project's errors."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from blocks.secret_reference import known_values
from playbook.errors import Conflict, Refused, ReleaseError, Transient
from playbook.text import clean, mask

ANSWER_MAX_BYTES = 32 * 1024 * 1024
TEXT_MAX = 1000
"""Characters of a sentence of Google's that a message quotes: what fails to start is explained in several."""
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises whose fields have impossible values, such as a time in the year 300,000."""

# google.rpc.Code, as a finished operation reports it.
CONFLICT = frozenset({6, 10})  # ALREADY_EXISTS, ABORTED
TRANSIENT = frozenset({1, 2, 4, 8, 13, 14})  # CANCELLED, UNKNOWN, DEADLINE, EXHAUSTED, INTERNAL, UNAVAILABLE


@asynccontextmanager
async def calling(
    module: str, asked: str, permission: str, *, is_write: bool = False, within_s: float | None = None
) -> AsyncIterator[None]:
    """Load ``module`` in a thread (run_v2 takes two seconds, once), and turn Google's errors into ours.

    ``asked`` says who was asked for what (``Cloud Run, asked for ethixai-backend``); ``permission`` is what it needs.
    ``within_s``: a deadline for all the calls of the block together; each call has its own besides.
    Raises: Transient (also an answer that cannot be read), Conflict (only where ``is_write``), Refused.
    """
    await asyncio.to_thread(importlib.import_module, module)
    import grpc
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.protobuf.message import Error  # type: ignore[import-untyped]

    try:
        async with asyncio.timeout(within_s):
            yield
    except (GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        raise translate(error, asked, permission, is_write=is_write) from error
    except (grpc.RpcError, grpc.aio.BaseError, Error, *UNREADABLE) as error:
        raise Transient(
            f"{asked}: {type(error).__name__}: {_text(error)} The answer cannot be read; ask again. "
            "If it stays so, check api_endpoint in the environment file."
        ) from error


def bounded(client: Any) -> Callable[..., Any]:
    """The transport of a Google client, with a limit to the size of an answer and without compression.

    The library's own sets no limit; a few hundred kilobytes may unpack to hundreds of megabytes.
    """
    transport = client.get_transport_class("grpc_asyncio")

    def channel(*arguments: Any, **named: Any) -> Any:
        limits = [("grpc.max_receive_message_length", ANSWER_MAX_BYTES), ("grpc.max_send_message_length", -1)]
        identity_only = [("grpc.compression_enabled_algorithms_bitset", 1)]
        return transport.create_channel(*arguments, **{**named, "options": limits + identity_only})

    return lambda **named: transport(channel=channel, **named)


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
    """The vendor's own sentence, cut, clean, on one line and ended with a full stop."""
    said = " ".join(clean(str(getattr(error, "message", "") or error), 2 * TEXT_MAX).split())
    text = mask(clean(said, TEXT_MAX), known_values())
    return text if not text or text.endswith(".") else text + "."
