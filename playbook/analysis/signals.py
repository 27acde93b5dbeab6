"""Signals as data: what is measured of a canary, its limit, and what a breach does. Rows of the environment file.

`playbook_table` writes the playbook's own table (section 3, step 2, and section 8) in this form; its limits are those
of the policy. `DEFAULT_SIGNALS` are what is shipped beside it. An environment file changes a row by its name, or adds
one.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from playbook.analysis.policy import Policy, Unseen
from playbook.base import Frozen, takes


class Breach(StrEnum):
    """What a breach does."""

    ROLLBACK = "rollback"  # at once
    SCALE = "scale"  # more instances once, then a rollback
    HOLD = "hold"  # a person decides when the bake ends


class Absence(StrEnum):
    """What it means that a signal was never seen."""

    HOLD = "hold"  # a person decides when the bake ends
    ALLOW = "allow"  # the release goes on without it


EVERY_EDGE: Literal["every edge"] = "every edge"
Query = Annotated[
    str, Field(min_length=1, max_length=2000, description="PromQL with placeholders, or a name of [queries].")
]


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, Field(max_length=200), AfterValidator(_is_pattern)]


class _Signal(Frozen):
    """What every kind of signal says."""

    name: str = Field(
        pattern=r"^[^\s\x00-\x1f][^\x00-\x1f]{0,58}[^\s\x00-\x1f]$",
        description="Unique; people read it. 2 to 60 characters, on one line, without spaces around it.",
    )
    breach: Breach = Field(description="What a breach does: rollback, scale or hold.")
    absence: Absence = Field(Absence.ALLOW, description="What it means that it was never seen: hold or allow.")
    services: tuple[str, ...] = Field((), description="Only for these services. Empty: for all.")
    enabled: bool = Field(True, description="false: it is not looked at.")

    @model_validator(mode="before")
    @classmethod
    def _has_no_truth(cls, row: object) -> object:
        """As `Written`, whose validators a union by kind does not take."""
        for key, one in row.items() if isinstance(row, dict) else ():
            known = cls.model_fields.get(key)
            if isinstance(one, bool) and known is not None and not takes(known.annotation, bool):
                raise ValueError(f"{key} must not be true or false")
        return row

    @property
    def queries(self) -> tuple[str, ...]:
        """What must be asked of the canary for it."""
        return tuple(filter(None, map(vars(self).get, ("query", "total", "bad"))))

    @property
    def of_stable(self) -> tuple[str, ...]:
        """What must be asked of stable, too: where the two are compared."""
        is_compared = isinstance(self, Share) or vars(self).get("factor") is not None
        return self.queries if is_compared else ()

    @property
    def is_of_counters(self) -> bool:
        """Whether its queries give counters, not levels."""
        return not (isinstance(self, Gauge) or vars(self).get("changes"))


class Ratio(_Signal):
    """Bad requests (or other events) of all. ``limit``: the largest ratio that is fine. ``factor``: how many times
    stable's odds of a bad one are fine. At least one of the two."""

    kind: Literal["ratio"] = "ratio"
    total: Query = Field(description="Counter of all; or the buckets of a histogram (with above_s).")
    bad: Query | Literal[""] = Field("", description="Counter of the bad ones, where it is another query.")
    bad_where: dict[str, Pattern] = Field(
        default_factory=dict, description="Series of total whose labels match are the bad ones: a regular expression."
    )
    above_s: Annotated[float, Field(gt=0)] | Literal["every edge"] | None = Field(
        None, description='Bad are those slower than so many seconds. "every edge": compared at each edge below 2 s.'
    )
    limit: float | None = Field(None, gt=0, lt=1, description="Bad / all, 0 to 1. A ratio of 5 % is 0.05.")
    factor: float | None = Field(None, ge=1, description="The canary's odds of a bad one / stable's that are fine.")
    floor: float = Field(0.0, ge=0, lt=1, description="A smaller ratio of the canary is no breach of factor.")
    alpha: float = Field(0.005, gt=0, le=0.05, description="Chance to call a canary bad that is not.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.limit is None and self.factor is None:
            raise ValueError(
                "limit or factor is missing; give the largest ratio that is fine, or how many times stable's"
            )
        if sum((bool(self.bad), bool(self.bad_where), self.above_s is not None)) != 1:
            raise ValueError("say which ones are bad by exactly one of bad, bad_where and above_s")
        if self.above_s == EVERY_EDGE and self.limit is not None:
            raise ValueError('above_s = "every edge" has no limit of its own; use factor, or give above_s in seconds')
        if self.limit is not None and self.floor >= self.limit:
            raise ValueError(f"floor: {self.floor:g} must be below limit ({self.limit:g})")
        return self


class Gauge(_Signal):
    """A level of each canary instance. It is a breach when one instance is beyond the limit for ``for_s`` seconds, with
    the seconds on the right side subtracted."""

    kind: Literal["gauge"] = "gauge"
    query: Query
    limit: float | None = Field(None, allow_inf_nan=False, description="The level must not be above it.")
    at_least: float | None = Field(None, allow_inf_nan=False, description="The level must not be below it.")
    for_s: float | None = Field(None, gt=0, description="Seconds beyond the limit. Empty: the policy's saturation_s.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.limit is None) == (self.at_least is None):
            raise ValueError("give exactly one of limit (it must not be above) and at_least (it must not be below)")
        return self


class Count(_Signal):
    """Events of the canary that must not happen more than ``limit`` times in a bake: what a counter grew by, or with
    ``changes`` how often a level changed (the start time of a process: a restart)."""

    kind: Literal["count"] = "count"
    query: Query
    limit: int = Field(0, ge=0, description="So many are fine.")
    changes: bool = Field(False, description="Count changes of the value instead of what it grew by.")


class Share(_Signal):
    """The canary's completed requests, as a share of all, against the share of users that it was given. Requests that
    hang are never counted, so the share falls."""

    kind: Literal["share"] = "share"
    total: Query = "requests"
    at_least: float = Field(gt=0, lt=1, description="Of the share of users that it was given; 0.85 allows 15 % less.")
    alpha: float = Field(0.005, gt=0, le=0.05, description="Chance to call a canary bad that is not.")


Signal = Annotated[Ratio | Gauge | Count | Share, Field(discriminator="kind")]
Signals = tuple[Signal, ...]
KINDS: dict[str, type[Ratio | Gauge | Count | Share]] = {"ratio": Ratio, "gauge": Gauge, "count": Count, "share": Share}

DEFAULT_SIGNALS: Signals = (
    Ratio(
        name="Cloud Run's own 5xx",
        total="cloud_run_requests",
        bad_where={"response_code_class": "5xx"},
        limit=0.005,
        breach=Breach.ROLLBACK,
    ),
    Ratio(
        name="client errors (4xx)",
        total="requests",
        bad_where={"status": "4.."},
        limit=0.9,  # where hardly a request succeeds, stable is no measure
        factor=2,
        floor=0.01,
        breach=Breach.HOLD,
    ),
    Ratio(name="latency against stable", total="latency", above_s=EVERY_EDGE, factor=3, floor=0.05, breach=Breach.HOLD),
    Share(name="completed requests", total="requests", at_least=0.85, breach=Breach.HOLD),
    Count(name="restarts", query="start_time", changes=True, limit=0, breach=Breach.HOLD),
    Gauge(name="instances that answer scrapes", query="up", at_least=1, breach=Breach.HOLD),
)
"""What is shipped beside the playbook's table. docs/judge.md measures what it holds."""

POLICY_FIELDS: dict[tuple[str, str], str] = {
    ("errors (5xx)", "limit"): "error_ratio_max",
    ("errors (5xx)", "factor"): "relative_max",
    ("slower than p95_rollback_s", "above_s"): "p95_rollback_s",
    ("slower than p95_rollback_s", "limit"): "slow_ratio_max",
    ("slower than p95_max_s", "above_s"): "p95_max_s",
    ("slower than p95_max_s", "limit"): "slow_ratio_max",
    ("CPU", "limit"): "cpu_max",
    ("CPU", "for_s"): "saturation_s",
    ("memory", "limit"): "memory_max",
    ("memory", "for_s"): "saturation_s",
}
"""Where each number of the playbook's table is set: row and key to the field of [policy]."""


def playbook_table(policy: Policy) -> Signals:
    """The playbook's own signals, as rows. Their limits are set in [policy]; see `POLICY_FIELDS`."""

    def absence(name: Unseen) -> Absence:
        return Absence.ALLOW if name in policy.allow_unseen else Absence.HOLD

    levels: tuple[tuple[str, Unseen], ...] = (("CPU", "cpu"), ("memory", "memory"))
    return (
        Ratio(
            name="errors (5xx)",
            total="requests",
            bad_where={"status": "5.."},
            limit=policy.error_ratio_max,
            factor=policy.relative_max,
            alpha=policy.alpha_ceiling,
            breach=Breach.ROLLBACK,
            absence=Absence.HOLD,
        ),
        *(
            Ratio(
                name=f"slower than {line}",
                total="latency",
                above_s=getattr(policy, line),
                limit=policy.slow_ratio_max,
                alpha=policy.alpha_latency,
                breach=breach,
                absence=absence("latency"),
            )
            for line, breach in (("p95_rollback_s", Breach.SCALE), ("p95_max_s", Breach.HOLD))
        ),
        *(
            Gauge(
                name=name,
                query=query,
                limit=getattr(policy, f"{query}_max"),
                for_s=policy.saturation_s,
                breach=Breach.HOLD,
                absence=absence(query),
            )
            for name, query in levels
        ),
        Count(name="OOM kills", query="oom_kills", breach=Breach.ROLLBACK, absence=absence("oom_kills")),
    )


def for_service(signals: Signals, service: str) -> Signals:
    """The rows that are looked at for ``service``."""
    return tuple(one for one in signals if one.enabled and (not one.services or service in one.services))
