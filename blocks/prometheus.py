"""Prometheus: raw samples for the judge, and single values."""

import asyncio
import hashlib
import math
import re
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import httpx
from pydantic import BaseModel, BeforeValidator, Field, HttpUrl, PrivateAttr

from blocks.http import HttpBlock, HttpService, quoted
from blocks.prometheus_transport import request_of
from blocks.secret_reference import Credential, SecretReference
from playbook.analysis.samples import CounterSeries, SeriesAnswer
from playbook.checklist.checks import AlertRule
from playbook.errors import NoData, Refused, ReleaseError, Transient
from playbook.text import Cleaned

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SELECTOR = re.compile(r'\s*[A-Za-z_:][\w:]*\s*(?:\{(?:[^"{}]|"(?:\\.|[^"\\])*")*\})?\s*')
"""A metric's name and its labels, and nothing else. The query is the environment file's own."""

MONITORING_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""An hour of raw samples every 5 s takes about 30 kB a series."""

WARNINGS_MAX = 5
"""So many of an answer's warnings are kept, and so many characters of each: people read them."""

LABEL_MAX = 2000
NO_LIST = frozenset({404, 405, 501})
"""Statuses of an API that has no list of rules."""


def _label(value: object) -> object:
    """A label's value, cut where it is too long; what was cut off still tells two series apart."""
    if not isinstance(value, str) or len(value) <= LABEL_MAX:
        return value
    return f"{value[: LABEL_MAX // 2]}… {hashlib.sha256(value.encode(errors='replace')).hexdigest()}"


LabelValue = Annotated[Cleaned, Field(max_length=LABEL_MAX), BeforeValidator(_label)]
Labels = dict[Annotated[Cleaned, Field(max_length=200)], LabelValue]
At = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Value = Annotated[str, Field(max_length=40, pattern=r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|Inf|NaN)$")]
Sample = tuple[At, Value]


class VectorEntry(BaseModel):
    """One series with its newest value."""

    metric: Labels
    value: Sample


class MatrixEntry(BaseModel):
    """One series with its samples; native histograms have none here."""

    metric: Labels
    values: tuple[Sample, ...] = ()


class Vector(BaseModel):
    """The result of an instant query."""

    resultType: Literal["vector"]  # noqa: N815  # Prometheus's own name
    result: tuple[VectorEntry, ...]


class Matrix(BaseModel):
    """The result of a query that ends in a range."""

    resultType: Literal["matrix"]  # noqa: N815
    result: tuple[MatrixEntry, ...]


class Scalar(BaseModel):
    """One number, and when it was computed."""

    resultType: Literal["scalar"]  # noqa: N815
    result: Sample


class Answer(BaseModel):
    """A good answer of /api/v1/query. ``warnings``: the answer is partial, and says why."""

    status: Literal["success"]
    data: Annotated[Vector | Matrix | Scalar, Field(discriminator="resultType")]
    warnings: tuple[Cleaned, ...] | None = None


class Rule(BaseModel):
    """One rule; a recording rule has no state."""

    name: Annotated[Cleaned, Field(max_length=LABEL_MAX)]
    type: str = ""
    state: Cleaned = ""
    health: Cleaned = ""
    lastError: Cleaned = ""  # noqa: N815


class RuleGroup(BaseModel):
    """The rules of one group; their file and interval are not read."""

    rules: tuple[Rule, ...]


class RuleGroups(BaseModel):
    """Every group. With a ``groupNextToken`` there would be more: it comes only where a limit was asked for."""

    groups: tuple[RuleGroup, ...]


class Rules(BaseModel):
    """A good answer of /api/v1/rules."""

    status: Literal["success"]
    data: RuleGroups


class PrometheusService(HttpService):
    """Prometheus's HTTP API: a status that is not 2xx has its own meaning there."""

    def unexpected(self, answer: httpx.Response, asked: str) -> ReleaseError:
        """What a status means: the query is wrong, we may not ask, or no Prometheus answers."""
        status = answer.status_code
        came = f"Prometheus at {self.at}, asked {asked}, answered {status}: {quoted(answer.text)}"
        if status in (400, 422):
            return Refused(f"{came} Correct the query in [queries].")
        if status in (401, 403):
            return Refused(f"{came} Check prometheus.bearer or prometheus.google_auth, and what it may read.")
        if status == 429 or status >= 500:
            return Transient(f"{came} Ask again.")
        return Transient(f"{came} No Prometheus answers there: check prometheus.url.")


class Prometheus(HttpBlock):
    """A Prometheus server, or Google's Managed Service for Prometheus."""

    _block_type_name: ClassVar[str | None] = "EthixAI Prometheus"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://prometheus.io/docs/prometheus/latest/querying/api/")

    url: str = Field(title="URL", description="Where it is, without /api/v1.")
    timeout_s: float = Field(5, gt=0, title="Timeout", description="Seconds that one query may take.")
    step_s: float = Field(
        5, gt=0, title="Step", description="Seconds between two values of an expression that is no raw series."
    )
    bearer: SecretReference | None = Field(
        None, title="Bearer token", description="Where the token to send is, if one is needed."
    )
    google_auth: bool = Field(
        False, title="Google sign-in", description="Sign in with this worker's Google account (monitoring.viewer)."
    )
    _credentials: "Credentials | None" = PrivateAttr(None)

    async def clock(self) -> float:
        """What time it is there, in unix seconds. One query. Raises: Transient, Refused."""
        found = await self._query("time()", None)
        if not isinstance(found, Scalar):
            raise Transient(
                f"Prometheus at {self.url}, asked time(), answered a {found.resultType} and not a time. "
                "Ask again; if it stays so, check prometheus.url."
            )
        return found.result[0]

    async def series(self, query: str, span_s: float, at_s: float | None = None) -> tuple[CounterSeries, ...]:
        """As `answer`, without its warnings."""
        return (await self.answer(query, span_s, at_s)).series

    async def answer(self, query: str, span_s: float, at_s: float | None = None) -> SeriesAnswer:
        """The samples of the ``span_s`` seconds before ``at_s`` (unix seconds; None is now), one entry a series.

        A selector gives raw samples with the timestamps of their scrapes, and gaps stay gaps, which a range query would
        fill. Any other expression is evaluated every ``step_s`` seconds. One query. Nothing matches: an empty tuple.
        A native histogram is a series without samples. ``warnings`` come from a Prometheus that cannot reach every
        store: what is there then is not all. Raises: Transient, Refused (not a query).
        """
        is_raw = SELECTOR.fullmatch(query) is not None
        span = f"{query}[{_ms(span_s)}]" if is_raw else f"({query})[{_ms(span_s)}:{_ms(self.step_s)}]"
        answer = await self._ask(span, at_s)
        found = answer.data
        if not isinstance(found, Matrix):
            raise Transient(
                f"Prometheus at {self.url}, asked {span}, answered a {found.resultType} and not samples. "
                "Ask again; if it stays so, check prometheus.url."
            )
        series = tuple(
            CounterSeries(labels=one.metric, samples=tuple((at, float(value)) for at, value in one.values))
            for one in found.result
        )
        return SeriesAnswer(series, tuple(map(quoted, (answer.warnings or ())[:WARNINGS_MAX])))

    async def value(self, query: str) -> float:
        """The one number that ``query`` gives. Raises: NoData (nothing, or nothing finite), Transient, Refused."""
        found = await self._query(query, None)
        if isinstance(found, Matrix):
            raise Refused(f"Prometheus gave samples over time for {query}; make it one number in [queries].")
        if len(found.result) == 0:
            raise NoData(f"Prometheus has no series that match {query}")
        if isinstance(found, Vector) and len(found.result) > 1:
            raise Refused(
                f"Prometheus gave {len(found.result)} series for {query}; aggregate them to one in [queries]."
            )
        number = float(found.result[0].value[1] if isinstance(found, Vector) else found.result[1])
        if not math.isfinite(number):
            raise NoData(f"Prometheus gave {number} for {query}")
        return number

    async def alert_rules(self) -> tuple[AlertRule, ...]:
        """Every alerting rule, as it was last evaluated. One call. Raises: Transient, Refused, NoData (the API has no
        list of rules: Cloud Monitoring has none).
        """
        service = self._service(await self._sign_in())
        asked = "which alerting rules it has (/api/v1/rules)"
        # A URL of its own: the address may end in a slash, as the library for queries takes it.
        url = f"{self.url.rstrip('/')}/api/v1/rules"
        # exclude_alerts: their labels are not needed. An earlier Prometheus ignores it.
        request = {"type": "alert", "exclude_alerts": "true"}
        answer = await service.send("GET", url, asked, also_ok=NO_LIST, params=request)
        if answer.status_code in NO_LIST:
            raise NoData(
                f"Prometheus at {service.at}, asked {asked}, answered {answer.status_code}: it lists no rules. Check "
                'prometheus.url; if this is Cloud Monitoring, set gates.alert_rules to "unlisted"'
            )
        return service.parsed(answer, asked, self._rules)

    def _rules(self, found: object) -> tuple[AlertRule, ...]:
        if isinstance(found, dict) and found.get("status") == "error":
            said = quoted(f"{found.get('errorType', '')}: {found.get('error', '')}")
            raise Transient(f"Prometheus at {self.url} answered 200 with an error: {said} Ask again.")
        groups = Rules.model_validate(found).data.groups
        every = [rule for group in groups for rule in group.rules if rule.type == "alerting"]
        return tuple(
            AlertRule(name=rule.name, state=rule.state, health=rule.health, error=quoted(rule.lastError))
            for rule in every
        )

    async def _query(self, query: str, at_s: float | None) -> Vector | Matrix | Scalar:
        """The ``data`` of an instant query, validated."""
        return (await self._ask(query, at_s)).data

    async def _ask(self, query: str, at_s: float | None) -> Answer:
        """An instant query's answer, validated."""
        url, params = await request_of(self.url, query, {} if at_s is None else {"time": f"{at_s:.3f}"})
        service = self._service(await self._sign_in())
        return await service.json("GET", url, query, self._understood, params=params)

    def _understood(self, found: object) -> Answer:
        """The answer, validated. A proxy may send Prometheus's refusal with the status 200. Raises: Transient."""
        if isinstance(found, dict) and found.get("status") == "error":
            said = quoted(f"{found.get('errorType', '')}: {found.get('error', '')}")
            raise Transient(f"Prometheus at {self.url} answered 200 with an error: {said} Ask again.")
        return Answer.model_validate(found)

    def _service(self, headers: dict[str, str | Credential]) -> PrometheusService:
        return PrometheusService(
            name="Prometheus",
            block="prometheus",
            base_url=self.url,
            credential="bearer",
            timeout_s=self.timeout_s,
            clients=self._clients,
            headers=headers,
            url_field="url",
            max_bytes=ANSWER_MAX_BYTES,
        )

    async def _sign_in(self) -> dict[str, str | Credential]:
        """The header that says who asks. Raises: Transient, Refused (Google gives no token)."""
        if self.bearer is not None:
            return {"Authorization": self.bearer.within("Bearer {}")}
        return {"Authorization": f"Bearer {await self._google_token()}"} if self.google_auth else {}

    async def _google_token(self) -> str:
        """A token of this worker's Google account, renewed when it has expired. Raises: Transient, Refused."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            async with asyncio.timeout(self.timeout_s):
                return await asyncio.to_thread(self._renewed_token)
        except (TimeoutError, TransportError) as error:
            raise Transient(f"Google's sign-in for Prometheus: {type(error).__name__}. Ask again.") from error
        except GoogleAuthError as error:
            raise Refused(
                f"Google's sign-in for Prometheus: {quoted(str(error))}. Sign this worker in to Google, or set "
                "prometheus.google_auth to false."
            ) from error

    def _renewed_token(self) -> str:
        import google.auth
        from google.auth.transport.requests import Request

        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=[MONITORING_SCOPE])
        if not self._credentials.valid:
            self._credentials.refresh(Request())  # type: ignore[no-untyped-call]
        return str(self._credentials.token)


def _ms(seconds: float) -> str:
    """A duration as PromQL writes it."""
    return f"{math.ceil(seconds * 1000)}ms"
