"""Whatever Google's libraries raise is one of this project's errors, and says what to do."""

import asyncio

import google.api_core.exceptions as api
import google.auth.exceptions as auth
import pytest

from blocks.google_api import calling, translate
from playbook.errors import Conflict, Refused, ReleaseError, Transient

GOOGLE = "google.api_core.exceptions"


def every(root: type[Exception]) -> list[type[Exception]]:
    """A class and all below it."""
    return [root, *(found for below in root.__subclasses__() for found in every(below))]


def made(kind: type[Exception]) -> Exception:
    """An error of this class, however its constructor is called."""
    for arguments in (("it broke",), ("it broke", None), ("it broke", 3), (None, "it broke"), ()):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"{kind} cannot be made")


EXPECTED: dict[type[Exception], type[ReleaseError]] = {
    api.Aborted: Conflict,
    api.AlreadyExists: Conflict,
    api.Conflict: Conflict,
    api.PreconditionFailed: Conflict,
    api.ServiceUnavailable: Transient,
    api.DeadlineExceeded: Transient,
    api.GatewayTimeout: Transient,
    api.BadGateway: Transient,
    api.InternalServerError: Transient,
    api.ServerError: Transient,
    api.Unknown: Transient,
    api.DataLoss: Transient,
    api.ResourceExhausted: Transient,
    api.TooManyRequests: Transient,
    api.Cancelled: Transient,
    api.RetryError: Transient,
    auth.TransportError: Transient,
    auth.TimeoutError: Transient,
    TimeoutError: Transient,
}
"""Every other one is Refused: asking again would not mend it."""


@pytest.mark.parametrize(
    "kind", [*every(api.GoogleAPIError), *every(auth.GoogleAuthError), TimeoutError], ids=lambda kind: kind.__name__
)
def test_every_error_is_mapped(kind: type[Exception]) -> None:
    """Each class of the two libraries becomes ours, names what was asked, and the kind that says what comes next."""
    ours = translate(made(kind), "Cloud Run, asked for s", "run.services.update", is_write=True)
    assert type(ours) is EXPECTED.get(kind, Refused)
    assert "Cloud Run, asked for s" in str(ours)
    assert kind.__name__ in str(ours)


def test_nothing_that_is_expected_is_missing_from_the_library() -> None:
    """The table above names classes that exist under the enumerated roots."""
    assert set(EXPECTED) <= {*every(api.GoogleAPIError), *every(auth.GoogleAuthError), TimeoutError}


@pytest.mark.parametrize("kind", [kind for kind, ours in EXPECTED.items() if ours is Conflict])
def test_a_read_is_never_a_conflict(kind: type[Exception]) -> None:
    """Nothing was decided on an older state: it is asked again."""
    assert type(translate(made(kind), "Cloud Run, asked for s", "run.services.get")) is Transient


def test_a_missing_permission_is_named() -> None:
    """It says which permission to grant."""
    assert "Grant run.services.get" in str(translate(api.PermissionDenied("no"), "Cloud Run", "run.services.get"))


def test_missing_credentials_say_what_to_set() -> None:
    """No account at all is the first thing that goes wrong on a new machine."""
    assert "GOOGLE_APPLICATION_CREDENTIALS" in str(translate(auth.DefaultCredentialsError("none"), "Cloud Run", ""))


async def test_the_cause_is_chained() -> None:
    """A traceback leads to what Google said."""
    with pytest.raises(Transient) as raised:
        async with calling(GOOGLE, "Cloud Run", ""):
            raise api.ServiceUnavailable("away")
    assert isinstance(raised.value.__cause__, api.ServiceUnavailable)


async def test_a_cancellation_is_not_swallowed() -> None:
    """A run that is cancelled while it waits for Google stays cancelled."""
    with pytest.raises(asyncio.CancelledError):
        async with calling(GOOGLE, "Cloud Run", ""):
            raise asyncio.CancelledError
