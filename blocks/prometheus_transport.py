"""prometheus-api-client over this project's HTTP boundary: the library writes the request, `HttpService` sends it."""

import asyncio
import importlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LIBRARY = "prometheus_api_client"


async def request_of(base_url: str, query: str, params: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The URL and the parameters with which the library asks ``query``. Nothing is sent.

    The library's own transport follows redirects, decompresses without a limit, and has no deadline for a whole answer.
    """
    await asyncio.to_thread(importlib.import_module, LIBRARY)
    asked = urlsplit(_written(base_url, query, params))
    return asked._replace(query="").geturl(), dict(parse_qsl(asked.query, keep_blank_values=True))


def _written(base_url: str, query: str, params: dict[str, str]) -> str:
    from prometheus_api_client import PrometheusConnect
    from requests import PreparedRequest, Response, Session
    from requests.adapters import BaseAdapter

    written: list[str] = []

    class Recorder(BaseAdapter):
        """Records the request that requests would send."""

        def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
            written.append(str(request.url))
            return Taken()

        def close(self) -> None:
            """Nothing is open."""

    class Taken(Response):
        """An answer without content."""

        def __init__(self) -> None:
            super().__init__()
            self.status_code = 200

        def json(self, **_: Any) -> dict[str, Any]:
            return {"data": {"result": []}}

    session = Session()
    session.trust_env = False
    connection = PrometheusConnect(url=base_url, session=session)
    session.mount(base_url, Recorder())
    connection.custom_query(query, params=params)
    return written[0]
