"""Prometheus: raw samples for the judge, and single values."""

import asyncio
import math
import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, HttpUrl, PrivateAttr, SecretStr

from blocks.base import OutsideBlock
from playbook.analysis.samples import CounterSeries
from playbook.errors import NoData, Refused, ReleaseError, Transient

if TYPE_CHECKING:
    from prometheus_api_client import PrometheusConnect
    from requests import Session

SELECTOR = re.compile(r'\s*[A-Za-z_:][\w:]*\s*(?:\{(?:[^"{}]|"(?:\\.|[^"\\])*")*\})?\s*')
"""A metric's name and its labels, and nothing else."""

MONITORING_SCOPE = "https://www.googleapis.com/auth/monitoring.read"


class Prometheus(OutsideBlock):
    """A Prometheus server, or Google's Managed Service for Prometheus."""

    _block_type_name: ClassVar[str | None] = "EthixAI Prometheus"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://prometheus.io/docs/prometheus/latest/querying/api/")

    url: str = Field(title="URL", description="Where it is, without /api/v1.")
    timeout_s: float = Field(5, gt=0, title="Timeout", description="Seconds that one try of a query may take.")
    step_s: float = Field(
        5, gt=0, title="Step", description="Seconds between two values of an expression that is no raw series."
    )
    bearer: SecretStr | None = Field(None, title="Bearer token", description="Token to send, where one is needed.")
    google_auth: bool = Field(
        False, title="Google sign-in", description="Sign in with this worker's Google account (monitoring.viewer)."
    )
    _client: "PrometheusConnect | None" = PrivateAttr(None)

    async def clock(self) -> float:
        """What time it is there, in unix seconds. One query. Raises: Transient, Refused."""
        at = await self._query("time()", None)
        try:
            return float(at[1])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise Transient(
                f"Prometheus at {self.url}, asked time(), answered {at!r} and not a time. "
                "Ask again; if it stays so, check prometheus.url."
            ) from error

    async def series(self, query: str, span_s: float, at_s: float | None = None) -> tuple[CounterSeries, ...]:
        """The samples of the ``span_s`` seconds before ``at_s`` (unix seconds; None is now), one entry a series.

        A selector gives raw samples with the timestamps of their scrapes, and gaps stay gaps, which a range query would
        fill. Any other expression is evaluated every ``step_s`` seconds. One query. Nothing matches: an empty tuple.
        Raises: Transient, Refused (not a query).
        """
        is_raw = SELECTOR.fullmatch(query) is not None
        span = f"{query}[{_ms(span_s)}]" if is_raw else f"({query})[{_ms(span_s)}:{_ms(self.step_s)}]"
        matrix = await self._query(span, at_s)
        return tuple(
            CounterSeries(
                labels=one["metric"], samples=tuple((float(at), float(value)) for at, value in one.get("values", ()))
            )
            for one in matrix
        )

    async def value(self, query: str) -> float:
        """The one number that ``query`` gives. Raises: NoData (nothing, or nothing finite), Transient, Refused."""
        found = await self._query(query, None)
        if len(found) == 0:
            raise NoData(f"Prometheus knows nothing that matches {query}")
        if len(found) > 1 and isinstance(found[0], dict):
            raise Refused(f"Prometheus gave {len(found)} series for {query}; aggregate them to one in [queries].")
        number = float(found[0]["value"][1] if isinstance(found[0], dict) else found[1])
        if not math.isfinite(number):
            raise NoData(f"Prometheus gave {number} for {query}")
        return number

    async def _query(self, query: str, at_s: float | None) -> Any:
        """The ``result`` of an instant query: a list of series, or [time, text] of a scalar."""
        params = {} if at_s is None else {"time": f"{at_s:.3f}"}
        return await asyncio.to_thread(self._query_now, query, params)

    def _query_now(self, query: str, params: dict[str, str]) -> Any:
        from google.auth.exceptions import GoogleAuthError
        from prometheus_api_client.exceptions import PrometheusApiClientException
        from requests import RequestException

        try:
            return self._connection().custom_query(query, params=params)
        except (PrometheusApiClientException, RequestException, KeyError, TypeError, GoogleAuthError) as error:
            raise self.translate(error, query) from error

    def translate(self, error: Exception, query: str) -> ReleaseError:
        """What an error of the client library means. Total."""
        from google.auth.exceptions import GoogleAuthError, TransportError
        from requests import exceptions as http

        came = f"Prometheus at {self.url}, asked {query}: {type(error).__name__}: {error}."
        wrong_url = http.InvalidURL | http.MissingSchema | http.InvalidSchema | http.TooManyRedirects
        if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            return Refused(f"{came} Sign this worker in to Google, or set prometheus.google_auth to false.")
        if isinstance(error, wrong_url | http.InvalidHeader):
            return Refused(f"{came} Check prometheus.url and prometheus.bearer.")
        if isinstance(error, http.RequestException | TransportError | KeyError | TypeError):
            return Transient(f"{came} Ask again; if it stays so, check prometheus.url.")
        return self._status(str(error), came)

    def _status(self, text: str, came: str) -> ReleaseError:
        """The library tells a status only in words: ``HTTP Status Code 400 (b'…')``."""
        status = next((int(word) for word in text.split() if word.isdigit()), 0)
        if status in (400, 422):
            return Refused(f"{came} Correct the query in [queries].")
        if status in (401, 403):
            return Refused(f"{came} Check prometheus.bearer or prometheus.google_auth, and what it may read.")
        if status == 429 or status >= 500:
            return Transient(f"{came} Ask again.")
        return Transient(f"{came} No Prometheus answers there: check prometheus.url.")

    def _connection(self) -> "PrometheusConnect":
        """The client, used from worker threads. Its retries cover a dropped connection; the task's cover the rest."""
        if self._client is None:
            from prometheus_api_client import PrometheusConnect
            from urllib3.util.retry import Retry

            # The library's own default waits 6 s and hides the status; this one gives up after 0.3 s and shows it.
            retry = Retry(
                total=2,
                backoff_factor=0.1,
                status_forcelist=[502, 503, 504],
                raise_on_status=False,
                allowed_methods=None,
            )
            headers = {"Authorization": f"Bearer {self.bearer.get_secret_value()}"} if self.bearer else None
            self._client = PrometheusConnect(
                url=self.url,
                headers=headers,
                retry=retry,
                timeout=self.timeout_s,
                session=_google_session() if self.google_auth else None,
            )
        return self._client


def _ms(seconds: float) -> str:
    """A duration as PromQL writes it."""
    return f"{math.ceil(seconds * 1000)}ms"


def _google_session() -> "Session":
    """A session that signs in with this worker's Google account and renews its token."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=[MONITORING_SCOPE])
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
