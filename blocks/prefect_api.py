"""What Prefect's own client raises once its own tries are used up: its server was away, busy or would not."""

import httpx
from prefect.exceptions import PrefectHTTPStatusError

PREFECT_AWAY = (httpx.TransportError, PrefectHTTPStatusError)
HINT = "Is it running, is PREFECT_API_URL right, and PREFECT_API_AUTH_STRING?"


def what_came(error: BaseException) -> str:
    """The error in one line, with its cause: that its client did not reach the server says nothing of why."""
    said, cause = str(error), error.__cause__
    why = f" ({type(cause).__name__}: {cause})" if cause is not None and str(cause) not in said else ""
    return f"{type(error).__name__}: {said}{why}"
