"""What the engine needs of the outside: one Protocol for each kind of system, and each vendor a block behind one.

Every method raises only this project's errors: Transient (ask again) or Refused (a person must change something)
unless it says more.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from blocks.signing import Signer
from playbook.analysis.samples import CounterSeries, SeriesAnswer
from playbook.checklist.checks import AlertRule, Check, Comment, Comparison, SecretState, Shift
from playbook.incident.logs import LogLine
from playbook.lease.change import Change
from playbook.messages.facts import Message, Page, Recorded, TakenBack, Ticket
from playbook.release.drift import Drift
from playbook.release.request import ExploitCheck
from playbook.release.traffic import Revision, ServiceSnapshot
from playbook.release.version import Image, SmokeTest


@runtime_checkable
class Services(Protocol):
    """The services that releases move users of (Cloud Run)."""

    project: str
    region: str

    def sign_with(self, signer: Signer) -> None:
        """Every record is written with a signature of ``signer``, and what is read is checked by it."""

    async def snapshot(self, service: str) -> ServiceSnapshot:
        """One read of the service, as `Signer.checked` answers it."""

    async def revision(self, service: str, name: str) -> Revision:
        """One revision of the service."""

    async def revisions(self, service: str) -> tuple[Revision, ...]:
        """Every revision of the service, newest first."""

    async def can_write(self, service: str) -> None:
        """The service may be changed; nothing is written."""

    async def drift(self, snapshot: ServiceSnapshot, base: str, overrides: Iterable[str]) -> Drift:
        """How the service's template differs from its revision ``base``; ``overrides`` are set by a release anyway."""

    async def write(self, snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        """Write the change over exactly what was read, and wait until it is served.

        Raises also: Conflict (it changed since the read), StartFailed (the new revision did not start).
        """

    async def check_conditional_writes(self, written: ServiceSnapshot) -> None:
        """A write under a version before that of ``written`` is refused. Raises also: Refused (it is accepted)."""


@runtime_checkable
class Metrics(Protocol):
    """Time series, asked for in PromQL (Prometheus)."""

    async def clock(self) -> float:
        """The time there, in unix seconds."""

    async def series(self, query: str, span_s: float, at_s: float | None = None) -> tuple[CounterSeries, ...]:
        """The samples of the ``span_s`` seconds before ``at_s`` (unix seconds; None is now)."""

    async def answer(self, query: str, span_s: float, at_s: float | None = None) -> SeriesAnswer:
        """As `series`, with what the source warns of: a partial answer looks like a whole one otherwise."""

    async def value(self, query: str) -> float:
        """The one number that the query gives. Raises also: NoData."""

    async def alert_rules(self) -> tuple[AlertRule, ...]:
        """Every alerting rule. Raises also: NoData (the source lists no rules)."""


@runtime_checkable
class Logs(Protocol):
    """What revisions wrote (Cloud Logging)."""

    async def errors(self, service: str, revision: str, since_s: float, limit: int = 20) -> tuple[LogLine, ...]:
        """The newest lines of severity ERROR or worse since ``since_s`` (unix seconds), oldest first."""

    async def oom_kills(self, service: str, revision: str, since_s: float) -> int:
        """How many instances were killed for lack of memory since ``since_s``."""


@runtime_checkable
class Channel(Protocol):
    """Where people read what a release says: one workspace of a chat (Slack, Microsoft Teams)."""

    name: str
    """Tells it from the other channels of its environment."""

    async def post(self, message: Message, *, repeat: bool = False) -> None:
        """The message stands there. With ``repeat`` it may stand there already: look first where that is possible."""


@runtime_checkable
class Reachable(Protocol):
    """A vendor that can be asked without posting anything, for the flight check. A webhook cannot."""

    async def reachable(self) -> None:
        """It answers, and takes our token. Nothing is posted."""


@runtime_checkable
class TokenEnds(Protocol):
    """A vendor that says until when our token is good (GitHub). Most do not say it."""

    async def token_ends_s(self) -> float | None:
        """Unix seconds; None where it has no end."""


@runtime_checkable
class Pager(Protocol):
    """Wakes the on-call engineer (PagerDuty)."""

    name: str
    """Tells it from the other pagers of its environment."""

    async def page(self, page: Page) -> None:
        """The on-call engineer is paged; a second page with the same key joins the first."""

    async def resolve(self, key: str) -> None:
        """The incident with this key is over."""

    async def shifts(self, from_s: float, until_s: float) -> tuple[Shift, ...]:
        """Who is on call between two times (unix seconds), first responder first."""

    async def is_open(self, key: str) -> bool:
        """Whether the incident with this key is still to be resolved."""


@runtime_checkable
class Tickets(Protocol):
    """Where incidents are followed up (GitHub issues)."""

    async def ticket(self, ticket: Ticket) -> str:
        """The URL of the ticket with this key, opened now where there is none."""


@runtime_checkable
class CodeHost(Protocol):
    """Where the code is (GitHub): what CI says of a commit, the release notes, and how each deployment stands."""

    deployments: bool
    """Whether it shows how a release stands."""

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """Every run of every check of the commit (a SHA, short or long), the newest of each run, and every status."""

    async def compare(self, base: str, head: str) -> Comparison:
        """What ``head`` has that ``base`` has not; each is a SHA or a branch."""

    async def comments(self, label: str) -> tuple[Comment, ...]:
        """What people wrote below the issues with this label."""

    async def release_notes(self, version: str) -> str | None:
        """The notes of the release of that name; None where there is none."""

    async def record(self, recorded: Recorded) -> None:
        """The deployment of this release stands as ``recorded`` says. One that is over does not begin again."""

    def commits_url(self, since: str, until: str) -> str:
        """Where a person reads the commits after ``since`` up to ``until``; ``since`` empty: all of them."""


@runtime_checkable
class ReleaseTracker(Protocol):
    """Relates errors to the release they came with (Sentry)."""

    async def release(self, version: str, commit: str) -> None:
        """The version is known there, and that it is deployed to this environment."""

    async def take_back(self, taken: TakenBack, commit: str) -> None:
        """The version is known there, for how long it was deployed, why it was taken back, and what users have now."""

    def release_url(self, version: str) -> str:
        """Where a person reads the errors of the version."""


@runtime_checkable
class Images(Protocol):
    """The registry that CI pushes to."""

    async def image(self, repository: str, tag: str) -> Image | None:
        """The image that the tag points to now, by digest; None where there is no such tag."""

    async def revision_of(self, image: Image) -> str:
        """The commit that the image says it was built from; empty where it says none."""


@runtime_checkable
class Secrets(Protocol):
    """Where the services' secrets are kept (Secret Manager)."""

    names: tuple[str, ...]
    """Those that a release looks at before it starts."""

    async def state(self, name: str) -> SecretState:
        """What is known of the secret and its newest version. ``name`` may be a full one, and name a version."""

    async def holds(self, name: str, value: SecretStr) -> bool:
        """Whether the newest version is ``value``."""

    async def put(self, name: str, value: SecretStr) -> None:
        """The newest version is ``value``."""


@runtime_checkable
class Notices(Protocol):
    """What the Prefect server itself tells people when no worker of ours can."""

    async def publish(self, environment: str, *, is_production: bool) -> list[str]:
        """The notices of ``environment`` are on the Prefect server. Returns their names."""


@runtime_checkable
class Application(Protocol):
    """The application itself, as its users reach it: smoke tests, probes, exploit checks.

    ``audience`` is the service's own URL, for an ID token where the service is private.
    """

    def sending(self, headers: Mapping[str, str]) -> "Application":
        """The same application, asked with these headers too: each value is a reference to a secret."""

    async def unreachable(self, url: str, audience: str = "") -> str:
        """Why no request of ours reaches the service at ``url``, in one sentence; empty where one does."""

    async def run(self, test: SmokeTest, url: str, audience: str = "") -> str:
        """What the test saw, in one sentence, when it passed. Raises also: SmokeFailed."""

    async def probe(self, url: str, count: int, seconds: float, audience: str = "") -> int:
        """Send ``count`` requests evenly over ``seconds``. How many were answered."""

    async def ask(self, check: ExploitCheck, url: str, audience: str = "") -> int:
        """The status that answers the check."""

    async def refuses_writes(self, url: str, *, may_take_none: bool, audience: str = "") -> str:
        """What a write saw, in one sentence, when it was refused. Raises also: SmokeFailed (it was taken)."""
