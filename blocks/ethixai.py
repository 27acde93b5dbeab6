"""EthixAI itself: the playbook's smoke tests (section 5), against any URL that a revision answers at."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, HttpUrl, PrivateAttr, ValidationError

from blocks.base import PerLoop
from blocks.google_token import IdToken
from blocks.http import UNREADABLE, HttpBlock, HttpService, json_of, quoted
from blocks.secret_reference import Credential, Reader, SecretReference, remember
from playbook.errors import Refused, ReleaseError, SmokeFailed, Transient
from playbook.release.request import EXPLOIT_REFERENCE, ExploitCheck, ExploitRequest
from playbook.release.version import SmokeTest
from playbook.text import clean

MARK = {"x-smoke-test": "1"}
"""Tells the application, and the readers of its logs, that no user sent this."""

DATASET = "smoke-test-dataset"
SAMPLE = """age,gender,score,outcome
34,female,0.71,1
51,male,0.42,0
29,female,0.65,1
46,male,0.58,1
38,female,0.33,0
61,male,0.77,1
25,female,0.49,0
43,male,0.62,1
57,female,0.81,1
32,male,0.37,0
"""

NOT_THERE_YET = frozenset({429, 502, 503, 504})
"""What the edge answers while an instance starts or a tag's URL spreads."""

TAKES_NONE = frozenset({404, 405})
"""What a service answers to a write that it has no route for, as ai-core to a new user."""

FRONT_REFUSES = ("Your client does not have permission to get", "The access token could not be verified")
"""What Google's front end says to a caller that may not invoke a private service."""

PROBES_AT_ONCE = 32
"""As many as let a canary that takes 6 s be asked five times a second. Hundreds at once would keep httpx busy with its
own queue, until the release's process is too busy to say that it lives."""
PROBES_LATE_S = 2.0


class EthixAI(HttpBlock):
    """EthixAI's own HTTP API, as its users see it. What a smoke test makes is marked as such, and removed."""

    _block_type_name: ClassVar[str | None] = "EthixAI application"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://github.com/GeoAziz/EthixAI")

    poll_interval_s: float = Field(2, gt=0, title="Poll interval", description="Seconds between two looks at a report.")
    polls: int = Field(30, gt=0, title="Polls", description="How often a report is looked at before the test fails.")
    id_tokens: bool = Field(
        False,
        title="ID tokens",
        description="Sign smoke tests in with this worker's ID token: for services that are private.",
    )
    _extra: dict[str, Credential] = PrivateAttr(default_factory=dict)
    _id_tokens: PerLoop[dict[str, IdToken]] = PrivateAttr(default_factory=PerLoop)
    probe_path: str = Field("/", title="Probe path", description="What is asked for when a canary has no users.")

    def sending(self, headers: Mapping[str, str]) -> "EthixAI":
        """The same application, asked with ``headers`` too: each value is a reference to a secret, read when sent."""
        other = self.model_copy()
        other._extra = {name: _secret(value, self._reader).within("{}") for name, value in headers.items()}
        return other

    async def run(self, test: SmokeTest, url: str, audience: str = "") -> str:
        """What ``test`` saw at ``url``, in one sentence, when it passed. ``audience`` is the service's own URL.

        Raises: SmokeFailed (an answer, and it is wrong), Transient (no answer, or 429, 502, 503, 504: not there yet).
        """
        site = Site(await self._service(url, audience))
        tests: dict[SmokeTest, Callable[[Site], Awaitable[str]]] = {
            SmokeTest.HEALTH: _health,
            SmokeTest.AUTH: _auth,
            SmokeTest.ANALYZE: self._analyze,
            SmokeTest.METRICS: _metrics,
            SmokeTest.PAGE: _page,
        }
        return await tests[test](site)

    async def probe(self, url: str, count: int, seconds: float, audience: str = "") -> int:
        """Send ``count`` requests to ``probe_path`` at ``url``, evenly over ``seconds``. How many were answered.

        `PROBES_AT_ONCE` are under way at most, and none is sent `PROBES_LATE_S` after the last was due: where this
        process or the canary is too slow for so many, fewer are sent, and the release goes on beating meanwhile.
        """
        service, clock = await self._service(url, audience), asyncio.get_running_loop().time
        every, numbers, began_s = frozenset(range(300, 600)), iter(range(count)), clock()

        async def sender() -> int:
            answered = 0
            for number in numbers:  # all senders share it: each takes the next that is due
                await asyncio.sleep(began_s + seconds * number / count - clock())
                if clock() > began_s + seconds + PROBES_LATE_S:
                    break
                try:
                    await service.send("GET", self.probe_path, "a probe", every)
                except Transient:
                    continue
                answered += 1
            return answered

        return sum(await asyncio.gather(*(sender() for _ in range(min(count, PROBES_AT_ONCE)))))

    async def refuses_writes(self, url: str, *, may_take_none: bool, audience: str = "") -> str:
        """What answered a write at ``url``, in one sentence, when it was refused with 503; where it ``may_take_none``
        404 and 405 will do, too. A user that was made after all is removed.

        Raises: SmokeFailed (it was taken, or refused otherwise), Transient (no answer).
        """
        every = frozenset(range(300, 600))
        sign_in = {"email": f"smoke-test-{secrets.token_hex(8)}@example.com", "password": "Sm0ke-test-only"}
        service = await self._service(url, audience)
        answer = await service.send("POST", "/api/auth/register", "whether it takes a write", every, json=sign_in)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            later = answer.headers.get("retry-after")
            return f"a write at {url} was refused with 503{f' and Retry-After {quoted(later)}' if later else ''}."
        if may_take_none and answer.status_code in TAKES_NONE:
            return f"{url} takes no such write: it answered {answer.status_code}."
        if answer.is_success:
            with contextlib.suppress(SmokeFailed):  # an answer without a token leaves no one to remove
                await user_of(Site(service), sign_in, answer).clean_up()
        raise SmokeFailed(f"{url}: a write was answered {answer.status_code}, not 503: users can still write.")

    async def ask(self, check: ExploitCheck, url: str, audience: str = "") -> int:
        """The status with which ``url`` answers ``check``; redirects are not followed. One call.

        Raises: Transient (no answer, or 429, 502, 503, 504: it says nothing of the hole), Refused (the request cannot
        be read, or has a header that HTTP does not allow).
        """
        every = frozenset(range(300, 600))
        asked = check.literal or await _exploit(check.request, self._reader)
        headers = _headers_of(asked, self._reader)
        answer = await (await self._service(url, audience)).send(
            asked.method, asked.path, f"{check}", every, headers=headers, content=asked.body.encode()
        )
        if answer.status_code in NOT_THERE_YET:
            raise Transient(f"{url}: {check} answered {answer.status_code}; ask again.")
        return answer.status_code

    async def _analyze(self, site: "Site") -> str:
        """Playbook 5.3: a data set of ten rows is uploaded and analyzed, and its report completes."""
        user = await site.register()
        dataset = ""
        try:
            dataset = await user.upload()
            report = await user.analyze(dataset)
            for _ in range(self.polls):
                status = await user.report_status(report)
                if status == "completed":
                    return f"10 rows uploaded and analyzed; report {quoted(report)} completed."
                if status == "failed":
                    raise SmokeFailed(
                        f"{site.url}: report {quoted(report)} of the smoke test failed. Read the service's logs."
                    )
                await asyncio.sleep(self.poll_interval_s)
            waited_s = self.polls * self.poll_interval_s
            said = f"report {quoted(report)} is still {quoted(status)} after {waited_s:g} s"
            raise SmokeFailed(f"{site.url}: {said}.")
        finally:
            await user.clean_up(dataset)

    async def unreachable(self, url: str, audience: str = "") -> str:
        """Why Google's front end lets no request of ours through to ``url``, in one sentence; empty where it does.

        One call. A service that does not answer is not refused by the front end: it may hang, and the release that is
        asked for may be what mends it. Smoke tests ask the new revision itself. Raises: Transient (no ID token),
        Refused (no credentials for an ID token).
        """
        service, every = await self._service(url, audience or url), frozenset(range(300, 600))
        try:
            answer = await service.send("GET", self.probe_path, "whether it may be called", every)
        except Transient:
            return ""
        if answer.status_code not in (401, 403) or not any(words in answer.text for words in FRONT_REFUSES):
            return ""
        if self.id_tokens:
            return f"{url} is private and refuses this worker's ID token. Grant roles/run.invoker to its account."
        return (
            f"{url} is private, so smoke tests would get 403 from Google and not from the application. Set id_tokens = "
            "true under [ethixai] in the environment file, and grant roles/run.invoker to the account of this worker."
        )

    async def _service(self, url: str, audience: str) -> HttpService:
        headers: dict[str, str | Credential] = {**MARK, **self._extra}
        if self.id_tokens and audience:
            tokens = self._id_tokens.get(dict[str, IdToken])
            token = tokens.setdefault(audience, IdToken(audience))
            headers |= await token.header(f"Google, asked for an ID token for {audience}", self.timeout_s)
        # The address is Cloud Run's, so the timeout is all that could be corrected here.
        return HttpService(
            "EthixAI", "ethixai", url, "timeout_s", self.timeout_s, self._clients, headers, url_field="timeout_s"
        )


class Site:
    """One revision, or the service, at its URL."""

    def __init__(self, service: HttpService) -> None:
        self._service = service
        self.url = service.base_url

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """A 2xx answer. Raises: SmokeFailed (any other), Transient (none, or the edge's)."""
        every = frozenset(range(300, 600))
        answer = await self._service.send(method, path, f"{method} {path}", every, **request)
        if answer.status_code in NOT_THERE_YET:
            raise Transient(f"{self.url}: {method} {path} answered {answer.status_code}; it may still be starting.")
        if not answer.is_success:
            raise SmokeFailed(
                f"{self.url}: {method} {path} answered {answer.status_code}: {quoted(answer.text)}. "
                "Read the service's logs."
            )
        return answer

    async def field(self, name: str, method: str, path: str, **request: Any) -> str:
        """One text field of a JSON answer. Raises: as ``call``, and SmokeFailed where it is missing or empty."""
        answer = await self.call(method, path, **request)
        try:
            found = json_of(answer).get(name)
        except UNREADABLE as error:
            raise SmokeFailed(f"{self.url}: {method} {path} did not answer a JSON object.") from error
        if not isinstance(found, str) or not found:
            raise SmokeFailed(f"{self.url}: {method} {path} answered without {name}.")
        return found

    async def register(self) -> "User":
        """A new user, who cannot be taken for a real one."""
        email = f"smoke-test-{secrets.token_hex(8)}@example.com"
        sign_in = {"email": email, "password": f"Sm0ke-{secrets.token_urlsafe(12)}"}
        answer = await self.call("POST", "/api/auth/register", json=sign_in)
        return user_of(self, sign_in, answer)


def user_of(site: Site, sign_in: dict[str, str], answer: httpx.Response) -> "User":
    """The user that an answer to a registration tells of. Raises SmokeFailed where it tells of none."""
    try:
        found = json_of(answer)
        token, user_id = found["token"], found.get("userId", "")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ValueError("no token")
    except UNREADABLE as error:
        raise SmokeFailed(f"{site.url}: POST /api/auth/register answered without token.") from error
    return User(site, sign_in, token, str(user_id))


class User:
    """A signed-in user that a smoke test made."""

    def __init__(self, site: Site, sign_in: dict[str, str], token: str, user_id: str) -> None:
        self._site = site
        self._sign_in = sign_in
        self._headers = {"Authorization": f"Bearer {token}"}
        self._id = user_id

    async def login(self) -> None:
        await self._site.field("token", "POST", "/api/auth/login", json=self._sign_in)

    async def upload(self) -> str:
        """The id of a new data set."""
        files = {"file": ("sample_10rows.csv", SAMPLE.encode(), "text/csv")}
        form = {"datasetName": DATASET}
        return await self._site.field(
            "datasetId", "POST", "/api/datasets/upload", headers=self._headers, files=files, data=form
        )

    async def analyze(self, dataset: str) -> str:
        """The id of a new report."""
        asked = {"datasetId": dataset, "targetColumn": "outcome", "sensitiveAttributes": ["gender"]}
        return await self._site.field("reportId", "POST", "/api/analyze", headers=self._headers, json=asked)

    async def report_status(self, report: str) -> str:
        return await self._site.field("status", "GET", f"/api/reports/{_part(report)}/status", headers=self._headers)

    async def clean_up(self, dataset: str = "") -> None:
        """What the test made is gone, where the API removes it. What it does not is recognised by its mark."""
        made = [f"/api/datasets/{_part(dataset)}"] * bool(dataset) + [f"/api/users/{_part(self._id)}"] * bool(self._id)
        for path in made:
            try:
                await self._site.call("DELETE", path, headers=self._headers)
            except ReleaseError:
                # It failed or is not offered: no reason to fail a release, and the mark stays.
                continue


async def _exploit(reference: str, reader: Reader | None) -> ExploitRequest:
    """The request that ``reference`` leads to. Its parts are masked in whatever is published from now on.

    Raises: Refused (there is none, or it is none; without a word of it), Transient.
    """
    text = (await _secret(reference, reader).read_text()).get_secret_value()
    try:
        found = ExploitRequest.model_validate_json(text)
    except ValidationError as wrong:
        fields = {str(one["loc"][0]) if one["loc"] else "JSON" for one in wrong.errors(include_input=False)}
        known = sorted(fields & {"JSON", *ExploitRequest.model_fields}) or ["a field that there is not"]
        raise Refused(
            f"The exploit check {reference} cannot be used: {', '.join(known)} is wrong. It is JSON with path, and "
            "method, headers and body as needed."
        ) from None
    for part in (found.path, found.body, *found.headers.values()):
        remember(part)
    return found


def _headers_of(check: ExploitRequest, reader: Reader | None) -> dict[str, str | Credential]:
    """The headers of an exploit check: where a value is a reference, the secret is read when it is sent."""
    return {
        name: _secret(value, reader).within("{}") if EXPLOIT_REFERENCE.match(value) else value
        for name, value in check.headers.items()
    }


def _secret(value: str, reader: Reader | None) -> SecretReference:
    """The secret that ``value`` refers to, in its newest version where none is named, read through ``reader``."""
    is_whole = value.startswith("env:") or "/versions/" in value
    return SecretReference(value if is_whole else f"{value}/versions/latest", reader=reader)


def _part(text: str) -> str:
    """An id that the application gave, as one part of a path."""
    return quote(clean(text, 200), safe="").replace(".", "%2E")


async def _health(site: Site) -> str:
    """Playbook 5.1."""
    answer = await site.call("GET", "/health/readiness")
    return f"GET /health/readiness answered {answer.status_code}."


async def _auth(site: Site) -> str:
    """Playbook 5.2: a new user is registered and can log in."""
    user = await site.register()
    try:
        await user.login()
    finally:
        await user.clean_up()
    return "a new user was registered and logged in."


async def _metrics(site: Site) -> str:
    """Playbook 5.4, first half; the error ratio is asked of Prometheus."""
    answer = await site.call("GET", "/metrics")
    if "http_requests_total" not in answer.text:
        raise SmokeFailed(f"{site.url}: GET /metrics does not mention http_requests_total.")
    return "GET /metrics counts http_requests_total."


async def _page(site: Site) -> str:
    """The frontend's page, which the playbook leaves out of section 5."""
    answer = await site.call("GET", "/")
    if "text/html" not in answer.headers.get("content-type", ""):
        raise SmokeFailed(
            f"{site.url}: GET / answered {quoted(answer.headers.get('content-type', ''))!r} and not a page."
        )
    return f"GET / answered a page of {len(answer.content)} bytes."
