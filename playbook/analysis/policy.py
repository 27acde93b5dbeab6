"""Every threshold, window and deadline of the playbook: its unit, its reason, its source.

"Playbook 3" is a section of the playbook; "Judge" is docs/judge.md, which measures what it leaves open.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, field_validator

from playbook.base import Written
from playbook.release.drift import DriftPolicy


class LowTraffic(StrEnum):
    """A step that is taken for a service whose canary saw too few requests to be judged. After the last, a person."""

    HOLD = "hold"  # wait for requests, as long as the gate's deadline allows
    PROBE = "probe"  # send what is missing to the tag URL, look again: they count as any request does
    PROMOTE = "promote"  # promote where a fault of `small_fault_max` is ruled out
    ASK = "ask"  # a person decides


EVERY_SERVICE = "*"  # the key of ``low_traffic`` for every service that is not named there

Unseen = Literal["latency", "cpu", "memory", "oom_kills"]


class SharedCause(StrEnum):
    """What is done where canary and stable are both beyond a limit, and the canary is not worse."""

    ROLLBACK = "rollback"  # the playbook's limit is absolute
    HOLD = "hold"  # wait until stable is well, then judge on


class NewErrors(StrEnum):
    """What error lines do that stable does not have."""

    SHOW = "show"
    HOLD = "hold"


def _s(default: float, why: str) -> float:
    """A duration in seconds."""
    value: float = Field(default, gt=0, description=f"Seconds. {why}")
    return value


def _ratio(default: float, why: str) -> float:
    """A ratio between 0 and 1."""
    value: float = Field(default, gt=0, lt=1, description=why)
    return value


class Policy(Written):
    """What is allowed, how long it is watched, and how sure the judge must be. Durations in seconds, ratios 0 to 1."""

    name: str = Field(default="playbook", description="Shown in the UI: tells a rehearsal from production.")

    # The canary stage
    canary_percent: int = Field(default=10, ge=1, le=99, description="Share of users on it. Playbook 3, step 1.5.")
    bake_s: float = Field(
        default=900, ge=0, description="Seconds before the decision. Playbook 3, step 1.6. 0: no canary (hotfix)."
    )
    extensions: int = Field(default=0, ge=0, description="How often a person has extended the bake; see `extended`.")
    tick_s: float = _s(5, "Between two looks. As often as there is something new: looking is free for this judge.")
    scrape_s: float = _s(5, "Between two scrapes of one instance. Judge: matters as much as the statistics.")
    settle_scrapes: int = Field(
        default=2, ge=0, description="After the shift, before latency counts. Errors always do."
    )
    warm_up_scrapes: int = Field(default=12, ge=0, description="After a scaling, the same: new instances are cold.")
    warm_up_max_s: float = _s(60, "After a scaling, at most, however slow the scrapes are.")

    drift: DriftPolicy = Field(
        default=DriftPolicy.REFUSE,
        description="A service's template that a person changed while traffic was pinned: refuse the release, take the "
        "change along, or leave it out. A hotfix is not refused for it; it leaves it out.",
    )

    # Deadlines and budgets
    gate_deadline_s: float = _s(900, "For a person's answer; silence means revert. Playbook 8, the 15-minute window.")
    claim_deadline_s: float = _s(7200, "Age limit of a lease. Playbook 2: on-call is there for the next two hours.")
    watch_s: float = _s(3600, "Of watching after promotion. Playbook 3, step 3: monitoring for 1 hour.")
    revert_in_watch: bool = Field(
        default=False, description="Revert after promotion too. Playbook 8: automatic in the canary phase only."
    )
    hotfix_watch_s: float = _s(
        300,
        "After a hotfix reaches all users: a bad one is reverted automatically. Playbook 6 skips the canary, not this.",
    )
    rollback_budget_s: float = _s(
        300, "For a whole rollback; later is said. Playbook 4, scenario 2: less than 5 minutes."
    )
    hotfix_budget_s: float = _s(1800, "For a whole hotfix, build to verified. Playbook 6: less than 30 minutes.")
    drain_s: float = _s(
        300,
        "Once writes are off, for requests under way: Cloud Run ends them then, by default. The playbook is silent.",
    )
    beat_s: float = Field(
        10,
        gt=0,
        le=10,
        description="Seconds. Between two heartbeats of a release. Recovery expects one within three of these; the "
        "automation in prefect.yaml waits 30 s.",
    )

    # The playbook's numbers
    error_ratio_max: float = _ratio(0.005, "5xx / all requests of the canary. Playbook 3, step 2: above, roll back.")
    error_ratio_investigate: float = _ratio(0.001, "5xx / all requests; above, a person decides. Playbook 8.")
    validation_error_ratio_max: float = _ratio(
        0.005, "5xx / all requests after promotion. Playbook 5.4 says 1 %, 3 says 0.5 %: the stricter one holds."
    )
    p95_max_s: float = _s(2, "95 % of requests must be faster. Playbook 3, step 2: above, investigate.")
    p95_rollback_s: float = _s(5, "95 % of requests must be faster. Playbook 8: above, scale; then roll back.")
    slow_ratio_max: float = _ratio(0.05, "Share of slow requests that a p95 allows: p95 > 2 s means more than 5 %.")
    cpu_max: float = _ratio(0.8, "CPU used / CPU limit, busiest instance. Playbook 3, step 2.")
    memory_max: float = _ratio(0.85, "Memory used / limit, fullest instance. Playbook 3, step 2.")
    scale_min_instances: int = Field(default=3, ge=1, description="At least so many. Playbook 4, scenario 3.")
    scale_max_instances: int = Field(default=13, ge=1, description="At most so many. Playbook 4, scenario 3.")

    # A service with few requests. The playbook is silent; docs/small-services.md
    canary_percent_max: int = Field(
        default=30, ge=1, le=50, description="Share that the forecast may give the canary of a small service at most."
    )
    bake_max_s: float = _s(1800, "Bake that the forecast may choose for a small service at most.")
    small_fault_max: float = _ratio(0.05, "Error ratio that must be ruled out before the step `promote` is taken.")
    alpha_small: float = _ratio(0.02, "Chance to promote a canary at `small_fault_max` by it. 77 clean requests do.")
    low_traffic: dict[str, tuple[LowTraffic, ...]] = Field(
        default={EVERY_SERVICE: (LowTraffic.PROMOTE,)},
        description="Steps in order, per service ('*': every other), where requests are too few; then a person.",
    )

    # How sure to be
    alpha_ceiling: float = _ratio(0.005, "Chance to roll back a canary at or below 0.5 % by evidence alone. Judge.")
    alpha_healthy: float = _ratio(0.005, "Chance to roll back a canary at or below 0.1 % on a measured ratio. Judge.")
    alpha_relative: float = _ratio(0.005, "Chance to call a canary worse than stable when it is not. Judge.")
    alpha_latency: float = _ratio(0.005, "Chance to call a p95 too slow when it is not. Judge.")
    alpha_lasting: float = _ratio(
        0.2, "Chance to call a ratio of `lasting_part` x its limit, or less, above it for some scrapes. Judge."
    )
    lasting_part: float = _ratio(0.75, "Part of the limit that a fault of a few scrapes must surely exceed. Judge.")
    alpha_promote: float = _ratio(0.05, "Chance to promote a canary above 0.5 %. 598 clean requests do. Judge.")
    alpha_extended: float = _ratio(0.02, "The same for all looks after an extension together. Judge.")
    relative_max: float = Field(
        default=1.25, ge=1, description="Canary's error odds / stable's that pass as equal. Judge."
    )
    horizon_s: float = _s(900, "Over which a fault of unknown onset is looked for. The bake. Judge.")
    phi_floor: float = Field(default=20, ge=1, description="Errors in a burst that are allowed for. Judge.")

    # What counts as evidence
    literal_window_s: float = _s(300, "The playbook's [5m]. Playbook 3, step 2.")
    literal_requests: float = Field(
        default=2000, gt=0, description="Requests x dispersion in that window before its bare ratio rolls back. Judge."
    )
    errors_min: int = Field(default=3, ge=1, description="Errors (x half the dispersion) that a ratio needs. Judge.")
    freshness_s: float = _s(60, "A last sample older than this is stale. Judge.")
    coverage_min: float = _ratio(0.6, "Share of the bake that must have been seen. Judge.")
    saturation_s: float = _s(120, "Of CPU or memory above the line, recovery subtracted, before it holds. Judge.")
    history_s: float = _s(3600, "Of stable's past, read for the dispersion of its errors. Judge.")
    history_min_s: float = _s(600, "Of scrapes in that past before it counts. Judge.")
    history_min_requests: int = Field(default=2000, ge=1, description="Requests in that past before it counts. Judge.")
    phi_unknown: float = Field(default=20, ge=1, description="Dispersion that is assumed without such a past. Judge.")

    allow_unseen: tuple[Unseen, ...] = Field(
        default=(),
        description="Signals of the playbook's table that a release may be promoted without ever having seen. "
        "The playbook is silent.",
    )
    new_errors: NewErrors = Field(
        default=NewErrors.SHOW,
        description="Error lines of the canary that stable does not have: show them, or hold the release too.",
    )
    shared_cause: SharedCause = Field(
        default=SharedCause.ROLLBACK,
        description="Canary and stable both beyond a limit, and the canary not worse: roll back all the same "
        "(playbook 3), or hold: wait until stable is well, then judge on without the time in which it failed.",
    )
    cloud_run_interval_s: float = _s(60, "Between two samples of Cloud Run's own counts. Google's documentation.")
    cloud_run_delay_s: float = _s(240, "Until such a sample is visible, at most. Google's documentation says 180.")

    @classmethod
    def compressed(cls) -> Self:
        """The policy of rehearsals: an hour becomes half a minute. Ratios and certainty stay as they are."""
        return cls(
            name="compressed",
            bake_s=60,
            bake_max_s=120,
            literal_window_s=20,
            horizon_s=60,
            freshness_s=6,
            saturation_s=8,
            history_s=30,
            history_min_s=30,
            gate_deadline_s=20,
            watch_s=30,
            hotfix_watch_s=15,
            drain_s=1,
            literal_requests=130,
            scrape_s=1,
            tick_s=1,
            cloud_run_interval_s=4,
            cloud_run_delay_s=10,
        )

    @field_validator("low_traffic", mode="before")
    @classmethod
    def _names_every_service(cls, value: object) -> object:
        """One step or a list of steps is for every service. A service with one step is the older form."""
        table = value if isinstance(value, Mapping) else {EVERY_SERVICE: value}
        return {name: (steps,) if isinstance(steps, str) else steps for name, steps in table.items()}

    @field_validator("low_traffic")
    @classmethod
    def _ends_with_a_person(cls, table: dict[str, tuple[LowTraffic, ...]]) -> dict[str, tuple[LowTraffic, ...]]:
        for name, steps in table.items():
            if LowTraffic.ASK in steps[:-1]:
                raise ValueError(f"{name}: ask is the last step: without an answer the release is reverted")
            if len(set(steps)) != len(steps):
                raise ValueError(f"{name}: a step is named twice")
        return table

    def planned(self, bake_s: float) -> Self:
        """The same policy with the bake that the forecast chose. It is chosen before the canary is seen, so the look at
        its end is still the planned one."""
        return self.model_copy(update={"bake_s": bake_s, "horizon_s": max(self.horizon_s, bake_s)})

    def longest_s(self, *, is_hotfix: bool = False) -> float:
        """How long users of a release are watched at most before it is decided, if no person extends it.

        The forecast may choose a bake of up to ``bake_max_s``. A hotfix has none: its first minutes are judged.
        """
        if is_hotfix:
            return self.hotfix_watch_s
        return max(self.bake_s, self.bake_max_s) if self.bake_s else 0.0

    def extended(self, seconds: float) -> Self:
        """The same policy with a longer bake: what a gate's "extend by N minutes" means.

        Use this and not a bare copy: a further look at the same canary must ask for more evidence.
        """
        return self.model_copy(update={"bake_s": self.bake_s + seconds, "extensions": self.extensions + 1})

    def first_minutes(self) -> Self:
        """The same policy for the minutes after a hotfix: what a canary would have shown, seen on all users."""
        return self.model_copy(update={"name": f"{self.name}, first minutes", "bake_s": self.hotfix_watch_s})

    def watching(self) -> Self:
        """The same policy for the hour after a promotion: looked at in the same way, for ``watch_s``."""
        return self.model_copy(update={"name": f"{self.name}, watching", "bake_s": self.watch_s})

    @property
    def alpha_promote_now(self) -> float:
        """The chance of a wrong promotion that this look may spend: all looks together spend at most 5 % + 2 %.

        The planned look spends ``alpha_promote``, the k-th extension ``alpha_extended / 2^k``.
        """
        return self.alpha_promote if not self.extensions else self.alpha_extended / 2**self.extensions

    @property
    def alpha_small_now(self) -> float:
        """The chance of a wrong promotion by the step `promote` that this look may spend: all looks together spend at
        most twice ``alpha_small``."""
        return self.alpha_small / float(2**self.extensions)

    @property
    def settle_s(self) -> float:
        """Seconds after the shift before latency counts."""
        return self.settle_scrapes * self.scrape_s

    @property
    def warm_up_s(self) -> float:
        """Seconds after a scaling before latency counts."""
        return min(self.warm_up_scrapes * self.scrape_s, self.warm_up_max_s)

    def low_traffic_for(self, service: str) -> tuple[LowTraffic, ...]:
        """The steps to take, in order, when this service's canary saw too few requests. After the last, a person."""
        return self.low_traffic.get(service, self.low_traffic.get(EVERY_SERVICE, (LowTraffic.PROMOTE,)))
