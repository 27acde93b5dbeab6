"""What is asked for: a version, its images, and the request that people and schedules send."""

import re
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries
from playbook.base import Frozen, Written
from playbook.checklist.items import Override, override_problems
from playbook.errors import BadRequest
from playbook.form import SERVICES, AtMost, Form, Person, field, must_match, too_many
from playbook.text import Said, clean, foreign_letters

VERSION = re.compile(r"v(?P<date>[0-9]{8})-(?:hotfix(?P<hotfix>[0-9]+)-)?(?P<commit>[0-9a-f]{6,40})")
VERSION_IN_FORM = r"v[0-9]{8}-(hotfix[0-9]+-)?[0-9a-f]{6,40}"
"""The same for the pattern of a form, which JavaScript may read too: without named groups."""
CANARY_PERCENT_MIN, CANARY_PERCENT_MAX = 1, 99
VERSION_FORM = "vYYYYMMDD-<commit> or vYYYYMMDD-hotfixN-<commit>, for example v20251116-abc123"

QUOTED_MAX = 60
Overrides = Annotated[tuple[Override, ...], AtMost(20)]


def version_problem(text: str, form: str = VERSION_FORM, *, must_be_hotfix: bool = False) -> str | None:
    """What is wrong with a version, naming its field; None where nothing is. Its day must be one of the calendar."""
    found = VERSION.fullmatch(text)
    if found is None or (must_be_hotfix and found["hotfix"] is None):
        return f"version: {clean(text, QUOTED_MAX)!r} is not {form}{foreign_letters(text[:QUOTED_MAX])}"
    day = found["date"]
    try:
        date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return f"version: {text!r} says {day}, which is no day of the calendar; the form is {form}"
    return None


def unknown_service(field: str, name: str, known: Iterable[str]) -> str:
    """The sentence about a service that is not among the ``known`` ones."""
    said = f"{clean(name, QUOTED_MAX)!r} is not a service of this environment{foreign_letters(name[:QUOTED_MAX])}"
    return f"{field}: {said}; it has {', '.join(known)}"


def version_of(release_id: str) -> str:
    """The version of a release by its id, ``v20251116-abc123-1f2e3d``; empty for what is no release's id."""
    text = release_id.rpartition("-")[0]
    return text if VERSION.fullmatch(text) else ""


class Version(Frozen):
    """A version as the playbook writes it: ``v20251116-abc123`` or ``v20251116-hotfix1-abc123``."""

    date: str
    commit: str
    hotfix: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version. Raises BadRequest, naming the form it must have."""
        if problem := version_problem(text):
            raise BadRequest([problem])
        found = VERSION.fullmatch(text)
        assert found is not None
        hotfix = found["hotfix"]
        return cls(date=found["date"], commit=found["commit"], hotfix=int(hotfix) if hotfix else None)

    def __str__(self) -> str:
        middle = f"hotfix{self.hotfix}-" if self.hotfix is not None else ""
        return f"v{self.date}-{middle}{self.commit}"


class Image(Frozen):
    """A container image. ``digest`` is ``sha256:…``; what is deployed is always pinned to one."""

    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


def digest_of(image: str) -> str:
    """``sha256:…`` of an image that is pinned to it; empty for one that is named by a tag."""
    return image.rpartition("@")[2] if "@" in image else ""


class SmokeTest(StrEnum):
    """Which of the playbook's smoke tests a service answers (section 5)."""

    HEALTH = "health"
    AUTH = "auth"
    ANALYZE = "analyze"
    METRICS = "metrics"
    PAGE = "page"


class Telemetry(StrEnum):
    """Where the judge sees a service's requests."""

    OWN = "own"  # its own counters and latencies
    CLOUD_RUN = "cloud_run"  # Cloud Run's counts alone: it has no metrics of its own

    @property
    def requests(self) -> str:
        """The query for its requests, by its name in [queries]."""
        return "requests" if self is Telemetry.OWN else "cloud_run_requests"

    @property
    def latency(self) -> str:
        """The same for its latencies; empty where there are none."""
        return "latency" if self is Telemetry.OWN else ""

    def offers(self, queries: Iterable[str]) -> bool:
        """Whether there is an answer to all of these; a service without metrics is not scraped."""
        return self is Telemetry.OWN or not {"latency", "up", "start_time"} & set(queries)

    def policy(self, policy: Policy) -> Policy:
        """The policy for this source: Cloud Run's counts come late, and say nothing of latency."""
        if self is Telemetry.OWN:
            return policy
        unseen = tuple(dict.fromkeys((*policy.allow_unseen, "latency")))
        changed = {
            "scrape_s": max(policy.scrape_s, policy.cloud_run_interval_s),
            "freshness_s": policy.freshness_s + policy.cloud_run_delay_s,
            "allow_unseen": unseen,
        }
        return policy.model_copy(update=changed)

    def with_status(self, found: Iterable[CounterSeries]) -> tuple[CounterSeries, ...]:
        """Series of requests with the label ``status`` that the judge reads."""
        if self is Telemetry.OWN:
            return tuple(found)
        return tuple(
            CounterSeries({"status": one.labels.get("response_code_class", ""), **one.labels}, one.samples)
            for one in found
        )


HEADER_REFERENCE = re.compile(
    r"env:[A-Z][A-Z0-9_]{0,100}$|secret-manager:projects/[a-z0-9:.-]{1,100}/secrets/[\w-]{1,255}(/versions/\w{1,64})?$"
)


class Service(Written):
    """One Cloud Run service of an environment, as its file describes it."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,47}[a-z0-9]$",
        description="its name in Cloud Run: lower-case letters, digits and hyphens, a letter first",
    )
    has_tags: bool = Field(
        True,
        description="a release tags its revisions, and smoke-tests the new one at its tag before it has users. False: "
        "it does not; the only way for a name of more than 38 characters",
    )
    tag_url: str = Field(
        "",
        pattern=r"^(https?://[^\s]*\{tag\}[^\s]*)?$",
        description="where a tagged revision answers, such as https://{tag}.internal, with {tag} in it: for a service "
        "whose run.app URLs are off or are not reached from here. Empty: the URL that Cloud Run names",
    )
    url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="where the service answers smoke tests, such as https://api.internal; empty: its run.app URL",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="headers that smoke tests send to this service alone, each a reference to a secret: env:NAME or "
        "secret-manager:projects/P/secrets/S",
    )
    repository: str = Field(description="image repository that CI pushes to, without tag")
    pull_from: str = Field(
        "",
        description="where Cloud Run pulls the same image from; it takes none from ghcr.io. Empty: from repository",
    )
    job: str = Field(description="its Prometheus job label")
    telemetry: Telemetry = Field(
        Telemetry.OWN,
        description='where the judge sees its requests; "cloud_run" for a service without metrics of its own',
    )
    smoke: tuple[SmokeTest, ...] = (SmokeTest.HEALTH,)
    environment: dict[str, str] = Field(default_factory=dict, description="variables a release sets on the template")
    maintenance_revision: str = Field(
        "",
        description="a revision that answers reads and refuses writes with 503 and Retry-After; empty: there is none",
    )

    @field_validator("headers")
    @classmethod
    def _are_references(cls, headers: dict[str, str]) -> dict[str, str]:
        """A header's value is a secret more often than not, and this file is stored in Prefect."""
        for name, value in headers.items():
            if not HEADER_REFERENCE.match(value):
                raise ValueError(f"{name}: say where its value is: env:NAME or secret-manager:projects/P/secrets/S")
        return headers

    def answers_at(self, tag: str) -> str:
        """The URL that the file names for a tagged revision, or without a tag for the service; empty: Cloud Run's."""
        return self.tag_url.replace("{tag}", tag) if tag else self.url

    def image_tag(self, version: "Version") -> str:
        """The tag that CI pushes for ``version``: ``sha-abc123``."""
        return f"sha-{version.commit}"

    def deployed(self, image: Image) -> Image:
        """``image`` where Cloud Run pulls it from. A mirror keeps the digest."""
        return Image(repository=self.pull_from or image.repository, digest=image.digest)


class ReleaseRequest(Form):
    """What a person, a schedule or CI sends to start a release. Shown as a form in the Prefect UI."""

    version: Said = Field(
        "",
        title="Version",
        description=f"{VERSION_FORM}. Leave it empty for the version that passed staging last.",
        json_schema_extra=field(
            example="v20251116-abc123",
            **must_match(rf"\s*|\s*{VERSION_IN_FORM}\s*", "vYYYYMMDD-<commit>, for example v20251116-abc123"),
        ),
    )
    changes: Annotated[Said, AtMost(2000)] = Field(
        "",
        title="Changes",
        description="One line for #releases: what is in this release.",
        json_schema_extra=field(example="Faster bias analysis; new export button"),
    )
    requested_by: Person = Field(
        "",
        title="Requested by",
        description="Your name. It is recorded, and shown in every message about this release.",
        json_schema_extra=field(example="Aziz"),
    )
    services: list[str] = Field(
        default_factory=list,
        title="Services",
        description="Which services to release. Leave the list empty for all of them.",
        json_schema_extra=field(choices=SERVICES, uniqueItems=True),
    )
    canary_percent: Annotated[
        bool | int | float | None,
        WithJsonSchema({"type": "integer", "minimum": CANARY_PERCENT_MIN, "maximum": CANARY_PERCENT_MAX}),
    ] = Field(
        None,
        title="Canary percent",
        description="Share of users on the canary, a whole number from 1 to 99. Leave it empty for the policy's share.",
        json_schema_extra=field(examples=[10]),
    )
    overrides: Overrides = Field(
        (),
        title="Overrides",
        description="To go on although an item that blocks is open: one entry for each item, with who and why.",
    )
    plan_reviewed_by: Person = Field(
        "",
        title="Rollback plan reviewed by",
        description="Who has read the rollback plan, where the policy asks for a person. A plan-only run shows it.",
    )
    plan_only: bool = Field(
        False,
        title="Plan only",
        description="Show what would be done, changed and said, and what each check says. Nothing is written.",
    )

    @property
    def subject(self) -> str:
        """What is released, for the name of the flow run."""
        return self.version or "the newest version in staging"

    @model_validator(mode="before")
    @classmethod
    def _none_is_default(cls, values: object) -> object:
        """A form that sends null for an empty box means the default."""
        if not isinstance(values, dict):
            return values
        return {k: v for k, v in values.items() if v is not None}

    def problems(self, known_services: tuple[str, ...]) -> list[str]:
        """Everything that is wrong with this request, one line for each field; empty when it is right."""
        found = []
        if self.version and (problem := version_problem(self.version)):
            found.append(problem)
        found += [
            unknown_service("services", name, known_services) for name in self.services if name not in known_services
        ]
        if len(set(self.services)) != len(self.services):
            found.append("services: a service is named twice")
        percent, low, high = self.canary_percent, CANARY_PERCENT_MIN, CANARY_PERCENT_MAX
        if isinstance(percent, bool):
            found.append(f"canary_percent: {str(percent).lower()} is no number; write one between {low} and {high}")
        elif percent is not None and not low <= percent <= high:
            found.append(
                f"canary_percent: {clean(str(percent), 20)} is not between {low} and {high}; to skip the canary use "
                "the hotfix flow"
            )
        elif percent is not None and percent != int(percent):
            found.append(f"canary_percent: {percent:g} is not a whole number; write one between {low} and {high}")
        return found + too_many(self) + override_problems(self.overrides)


def is_version(text: str) -> bool:
    """Whether it is the name of a version."""
    return VERSION.fullmatch(text) is not None


def commit_of_version(text: str) -> str:
    """The commit that a version names; empty where the text names none."""
    found = VERSION.fullmatch(text)
    return found["commit"] if found else ""
