"""What people ask for when something is wrong: the forms of `rollback`, `hotfix` and `mitigate`, and what each must
have.

A required field has a default all the same, so that a request without it is answered with every field that is missing,
in words. The form insists on it (`playbook.form`).
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from playbook.base import Frozen
from playbook.checklist.items import override_problems
from playbook.form import INTERNAL, SERVICES, AtMost, Form, Line, Person, field, must_match, sentence, too_many, who
from playbook.incident.decision_matrix import MATRIX, Symptom, Trigger
from playbook.release.version import Overrides, unknown_service, version_problem
from playbook.text import Said, clean, foreign_letters

HOTFIX_IN_FORM = r"v[0-9]{8}-hotfix[0-9]+-[0-9a-f]{6,40}"
HOTFIX_FORM = "vYYYYMMDD-hotfixN-<commit>, for example v20251116-hotfix1-abc123"
MITIGATED_MAX = 1000
"""Cloud Run's own limit of instances for one revision."""

TARGET = r"[a-z][a-z0-9-]{1,62}"
"""A release or a revision, as the field `to` of a rollback takes them."""


class RollbackRequest(Form):
    """Take production back to what it served before (playbook 4, scenario 2)."""

    earlier_names: ClassVar[Mapping[str, str]] = {"even_so": "override_reason"}

    symptom: Symptom = Field(
        title="Symptom", description="What you see. It sets the severity by the playbook's decision matrix (section 8)."
    )
    reason: Line = sentence(
        "What is wrong, in one sentence. It is announced.", "Bias reports fail with 500 since 14:20 UTC"
    )
    requested_by: Person = who()
    to: Line = Field(
        "",
        title="Roll back to",
        description="A release (v20251115-abc123), or one revision of each service (ethixai-backend-00041-xyz, …). "
        "Leave it empty for the release before the one that serves now.",
        json_schema_extra=field(
            example="v20251115-abc123",
            **must_match(
                rf"[\s,]*|[\s,]*{TARGET}([\s,]+{TARGET})*[\s,]*",
                "a release such as v20251115-abc123, or revisions separated by commas",
            ),
        ),
    )
    override_reason: Line = Field(
        "",
        title="Override reason",
        description="Needed for a UI bug or a vulnerability only: the decision matrix says to fix these forward.",
        json_schema_extra=field(example="The fix takes a day, and checkout is unusable"),
    )

    def problems(self) -> list[str]:
        """What is wrong with it, one line for each field; empty where it can be carried out."""
        found = []
        if not self.reason:
            found.append("reason: say in one sentence what is wrong")
        if not self.requested_by:
            found.append("requested_by: say who asks")
        if self.to and not re.fullmatch(rf"[\s,]*{TARGET}([\s,]+{TARGET})*[\s,]*", self.to):
            found.append(
                f"to: {clean(self.to, 60)!r} is neither a release such as v20251115-abc123 nor revisions separated by "
                f"commas{foreign_letters(self.to[:60])}"
            )
        row = MATRIX[self.symptom]
        if row.trigger in (Trigger.NEVER, Trigger.NEVER_FORWARD) and not self.override_reason:
            found.append(
                f"override_reason: for {row.symptom.value!r} the matrix says {row.response.value!r}: "
                f"{row.trigger.value}. Start hotfix/production, or say here why to roll back all the same"
            )
        return found + too_many(self)


HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,2000}")
FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
    | {"via", "forwarded"}
)
"""Headers that say how a request is sent, or to whom."""
EXPLOIT_REFERENCE = re.compile(
    r"env:EXPLOIT_[A-Z0-9_]{1,100}$|secret-manager:projects/[a-z0-9:.-]{1,100}/secrets/exploit-[\w-]{1,200}"
    r"(?:/versions/[a-z0-9-]{1,64})?$"
)
EXPLOIT_IN_FORM = (
    r"\s*(env:EXPLOIT_[A-Z0-9_]{1,100}|secret-manager:projects/[a-z0-9:.-]{1,100}/secrets/exploit-[A-Za-z0-9_-]{1,200}"
    r"(/versions/[a-z0-9-]{1,64})?)\s*"
)


STORE_IT = (
    "the parameters of a run can be read by every user of Prefect. Store the request as JSON in a secret named "
    "exploit-…, and write secret-manager:projects/P/secrets/exploit-… as `request` (docs/operations.md, Exploit checks)"
)


class ExploitRequest(Frozen):
    """What is sent: JSON in a secret, read by the worker when it is sent. Nothing of it is published."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field(pattern=r"^/[\x21-\x7e]*$", max_length=500, description="on the service, with its query")
    headers: dict[str, str] = Field(default_factory=dict, max_length=20, description="values, or references to them")
    body: str = Field("", max_length=4000)

    @field_validator("headers")
    @classmethod
    def _may_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            lower = name.lower()
            if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
                raise ValueError(f"{clean(name, 60)!r} is not a header of printable ASCII characters, or is too long")
            if lower in FRAMING or lower.startswith(("proxy-", "x-forwarded-", ":")):
                raise ValueError(f"{name} may not be set: it says how or to whom the request is sent")
            if value.startswith(("env:", "file:", "secret-manager:")) and not EXPLOIT_REFERENCE.match(value):
                raise ValueError(f"{name}: only env:EXPLOIT_… and secrets named exploit-… may be sent to a service")
        return headers


class ExploitCheck(Form):
    """One HTTP request that a vulnerable version answers, and a fixed one must refuse (playbook 6, step 5)."""

    service: str = Field(
        "ethixai-backend",
        title="Service",
        description="Where the request is sent.",
        json_schema_extra=field(choices=SERVICES),
    )
    request: Line = Field(
        "",
        title="Request",
        description="Where the request is, as JSON: secret-manager:projects/P/secrets/exploit-… or env:EXPLOIT_…. It "
        "is not written here: run parameters can be read by every user of Prefect.",
        json_schema_extra=field(
            required=True,
            example="secret-manager:projects/ethixai-production/secrets/exploit-cve-2025-12345",
            **must_match(EXPLOIT_IN_FORM, "secret-manager:projects/P/secrets/exploit-… or env:EXPLOIT_…"),
        ),
    )
    refused_with: tuple[int, ...] = Field(
        (400, 401, 403, 404, 405, 410, 422),
        title="Refused with",
        description="Each status that means the hole is closed. Any other, and none at all, means it is not.",
    )
    literal: ExploitRequest | None = Field(None, json_schema_extra={INTERNAL: True})
    """The request itself: only in the lease of a hotfix that an earlier version began. A new one is refused."""

    @model_validator(mode="before")
    @classmethod
    def _reads_earlier_version(cls, value: object) -> object:
        """Earlier versions wrote the request into the form."""
        if not isinstance(value, dict) or "literal" in value or "path" not in value:
            return value
        written = {name: value[name] for name in ExploitRequest.model_fields if name in value}
        return {name: one for name, one in value.items() if name not in written} | {"literal": written}

    def problems(self) -> list[str]:
        """What is wrong with it, one line for each field."""
        if self.literal is not None:
            return [f"exploit: {STORE_IT}"]
        if not EXPLOIT_REFERENCE.fullmatch(self.request):
            return ["exploit: say in `request` where the request is: env:EXPLOIT_… or a secret named exploit-…"]
        return []

    def __str__(self) -> str:
        """What is published of it: no path, header or body, since they show how the hole is used."""
        if self.literal is not None:
            return f"{self.literal.method} to {self.service}"
        name = self.request.removeprefix("env:").split("/secrets/")[-1].split("/")[0]
        return f"{name or 'exploit'} to {self.service}"


class HotfixRequest(Form):
    """A fix that cannot wait for a canary (playbook 6)."""

    version: Said = Field(
        "",
        title="Version",
        description=HOTFIX_FORM,
        json_schema_extra=field(
            required=True,
            example="v20251116-hotfix1-abc123",
            **must_match(
                rf"\s*{HOTFIX_IN_FORM}\s*", "vYYYYMMDD-hotfixN-<commit>, for example v20251116-hotfix1-abc123"
            ),
        ),
    )
    reason: Line = sentence("What is being fixed. #releases reads it.", "Closes the login bypass in the token check")
    incident: Line = sentence("The CVE, or the incident's name or link.", "CVE-2025-12345", title="CVE or incident")
    approver: Person = who("Approver", "Who allows the canary to be skipped. It is recorded and announced.")
    requested_by: Person = Field(
        "",
        title="Requested by",
        description="Your name. It is recorded.",
        json_schema_extra=field(example="Aziz"),
    )
    exploit: Annotated[tuple[ExploitCheck, ...], AtMost(10)] = Field(
        (),
        title="Exploit check",
        description="Requests that must be refused once the fix is live. They run before and after.",
    )
    overrides: Overrides = Field(
        (),
        title="Overrides",
        description="To go on although an item that stops hotfixes is open: one entry for each item, with who and why.",
    )
    plan_only: bool = Field(
        False,
        title="Plan only",
        description="Show what would be done and said, and what each check says. Nothing is written.",
    )

    def problems(self, known_services: tuple[str, ...]) -> list[str]:
        """Everything that is missing or wrong, one line for each field."""
        found = []
        if problem := version_problem(self.version, HOTFIX_FORM, must_be_hotfix=True):
            found.append(problem)
        for name, why in (
            ("reason", "say what is being fixed"),
            ("incident", "name the CVE or the incident"),
            ("approver", "say who allows the canary to be skipped"),
        ):
            if not getattr(self, name):
                found.append(f"{name}: {why}")
        found += [
            unknown_service("exploit", check.service, known_services)
            for check in self.exploit
            if check.service not in known_services
        ]
        found += [problem for check in self.exploit for problem in check.problems()]
        return found + too_many(self) + override_problems(self.overrides)


class Measure(StrEnum):
    """What can be done to a service at once, without a release (playbook 7, immediate actions)."""

    SCALE = "scale"
    READ_ONLY = "read-only"
    RESTORE = "restore"


class MitigateRequest(Form):
    """Lessen the impact on users now; ``restore`` is the way back."""

    service: Line = Field(
        title="Service", description="Which service to change.", json_schema_extra=field(choices=SERVICES)
    )
    measure: Measure = Field(
        title="Measure",
        description="scale: a fixed number of instances. read-only: writes are refused. "
        "restore: back to what was before the first measure.",
    )
    instances: int | None = Field(
        None,
        title="Instances",
        description=f"For scale only: exactly so many, 0 to {MITIGATED_MAX}. 0 stops the service.",
        ge=0,
        le=MITIGATED_MAX,
    )
    reason: Line = sentence("Why. It is kept on the service and announced.", "Queue is growing; p95 is 4 s")
    requested_by: Person = who()

    def problems(self, known_services: tuple[str, ...], maintenance_revision: str) -> list[str]:
        """Everything that is missing or wrong, one line for each field."""
        found = []
        if self.service not in known_services:
            found.append(unknown_service("service", self.service, known_services))
        elif self.measure is Measure.READ_ONLY and not maintenance_revision:
            found.append(
                f"measure: {self.service} has no maintenance revision. Deploy one, name it in its [[services]] entry "
                "as maintenance_revision, and apply the file; or scale to 0"
            )
        if (self.measure is Measure.SCALE) != (self.instances is not None):
            found.append("instances: say how many for scale, and leave it empty for anything else")
        found += [
            f"{name}: {why}"
            for name, why in (("reason", "say why"), ("requested_by", "say who asks"))
            if not getattr(self, name)
        ]
        return found + too_many(self)


class StandDown(Form):
    """A person takes over from a release that the engine cannot finish: its lease goes, users stay where they are."""

    release: Line = sentence("Its id, as the page says it.", "v20251116-abc123-1f2e3d", title="Release")
    by: Person = who("Who", "Who is responsible for the services from now on.")
    reason: Line = sentence("Why recovery must not try again.", "Cloud Run refuses every change; done by hand")

    def problems(self) -> list[str]:
        """What is wrong with it, one line for each field."""
        needed = (
            ("release", "name the release, as the page says it"),
            ("by", "say who takes over"),
            ("reason", "say why recovery must not try again"),
        )
        return [f"{name}: {why}" for name, why in needed if not getattr(self, name)] + too_many(self)
