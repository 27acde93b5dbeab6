"""What an environment's policy says about the checks before a release: ``[gates]`` in its file."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from playbook.base import Written
from playbook.checklist.calendar import Freeze
from playbook.checklist.items import Topic
from playbook.text import Said


def _says_something(text: str) -> str:
    if not text:
        raise ValueError("must have at least one letter or digit")
    return text


Text = Annotated[Said, StringConstraints(max_length=300), AfterValidator(_says_something)]
DAY_S = 86_400.0
ADVISORY = (Topic.NOTES,)
"""Looked up and shown, but by default they stop nothing."""


class Ignored(Written):
    """A vulnerability that is accepted until a day."""

    id: Text = Field(description="As Trivy names it, for example CVE-2025-12345.")
    until: date = Field(description="The last day on which it is accepted, in UTC.")
    reason: Text = Field(description="Why it may be accepted until then.")


class Gates(Written):
    """Which checks stop a release, and what each one asks for. Durations in seconds."""

    blocks: tuple[Topic, ...] = Field(
        tuple(topic for topic in Topic if topic not in ADVISORY),
        description="Items that stop a release where they fail or cannot be told. The others are shown.",
    )
    hotfix_blocks: tuple[Topic, ...] = Field(
        (Topic.BUILD, Topic.LINE),
        description="The same for a hotfix. What is open beside them goes into its follow-up ticket.",
    )
    not_needed: dict[Topic, Text] = Field(
        default_factory=dict, description="Items that this environment does not need, each with the reason."
    )
    build_deadline_s: float = Field(
        1800, ge=0, description="Seconds to wait for images that CI has not pushed yet. 0: they must be there."
    )
    scan_check: Text = Field("trivy", description="Check runs of the scan: this name, alone or followed by a space.")
    scan_fails_on: tuple[Literal["LOW", "MEDIUM", "HIGH", "CRITICAL", "UNKNOWN"], ...] = Field(
        ("HIGH", "CRITICAL"),
        min_length=1,
        description="Severities that fail the scan, at least one. Playbook 3, step 1.3. Without a scan: not_needed.",
    )
    scan_ignored: tuple[Ignored, ...] = Field((), description="Vulnerabilities that are accepted, each until a day.")
    main_branch: Text = Field("main", description="The commit of a release must be on this branch. Playbook 2.")
    secrets_last_s: float = Field(
        7 * DAY_S, ge=0, description="A secret that expires sooner than this is near its expiry."
    )
    on_call_s: float = Field(7200, gt=0, description="On-call must be covered for so long. Playbook 2: two hours.")
    load_test_label: Text = Field("load-test", description="GitHub issues whose comments acknowledge a load test.")
    load_test_days_max: int = Field(
        90, ge=1, le=999, description="An acknowledgement holds for at most so many days, whatever its comment says."
    )
    rollback_plan: Literal["policy", "person"] = Field(
        "policy",
        description="policy: the plan that each release computes is accepted. person: the request names its reader.",
    )
    freeze: tuple[Freeze, ...] = Field((), description="Windows in which nothing is released here.")
    alerts: tuple[Text, ...] = Field((), description="Names of Prometheus alerts; none may be firing.")
    alert_rules: Literal["listed", "unlisted"] = Field(
        "listed",
        description="listed: each name must be that of a rule (/api/v1/rules). unlisted: the metrics source lists no "
        "rules, as Cloud Monitoring does; the names are believed, and a misspelt one never fires.",
    )
    late_after_s: float = Field(
        3600, gt=0, description="A run that starts so long after its time asks a person before it goes on."
    )
    approval: Literal["none", "production", "promotion"] = Field(
        "none", description="Whether a person must agree before production is touched, or before all users move."
    )
    approval_deadline_s: float = Field(3600, gt=0, description="For that answer. Without one the release ends.")

    def is_scan(self, check: str) -> bool:
        """Whether the check run of that name is one of the image scan."""
        return check == self.scan_check or check.startswith(f"{self.scan_check} ")

    def stops(self, topic: Topic, *, is_hotfix: bool = False) -> bool:
        """Whether an open item of ``topic`` stops a release, or a hotfix."""
        return topic in (self.hotfix_blocks if is_hotfix else self.blocks)
