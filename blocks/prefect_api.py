"""What Prefect's own client raises once its own tries are used up: its server was away, busy or would not."""

import httpx
from prefect.exceptions import PrefectHTTPStatusError

PREFECT_AWAY = (httpx.TransportError, PrefectHTTPStatusError)
