"""The query catalogue of an environment: where each number comes from, in PromQL with placeholders."""

import re

from pydantic import Field, PrivateAttr, field_validator

from playbook.analysis.telemetry import NO_ROUTE, TelemetryForm
from playbook.base import Written
from playbook.errors import Refused
from playbook.release.version import Service

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""``{revision}``; the braces of a selector hold more than one word."""

HEALTH_CHECKS = "health_checks"
KNOWN = ("job", "revision", "service", HEALTH_CHECKS)
PLAIN = re.compile(r"[A-Za-z0-9_:./-]+")
"""What a job, revision or service may be called. Nothing in it can leave the quotes of a PromQL string."""


class Queries(Written):
    """PromQL of one environment. ``{job}``, ``{revision}`` and ``{service}`` are filled in for each question, and
    ``{health_checks}`` with the routes of [telemetry] that are no users', for a matcher such as
    ``handler!~"{health_checks}"``: a series without that label stays in.

    ``requests``, ``latency`` and ``up`` are bare selectors: the judge wants raw samples. ``cpu`` and ``memory`` may be
    expressions that give one series (0–1) an instance. ``error_ratio`` gives one number.
    """

    requests: str = Field(description="Counter of requests, with a status label.")
    latency: str = Field(description="Buckets of the latency histogram, le in seconds, with edges at 2 and 5.")
    cpu: str = Field(description="CPU used / CPU limit of each instance, 0-1.")
    memory: str = Field(description="Memory used / memory limit of each instance, 0-1.")
    up: str = Field(description="Prometheus's own up, for each instance.")
    error_ratio: str = Field(description="5xx / all requests of one revision lately, one number, 0-1.")

    cloud_run_requests: str = Field(
        'run_googleapis_com:request_count{service_name="{service}",revision_name="{revision}"}',
        description="Cloud Run's own counter of requests, with a label response_code_class. Cloud Monitoring has it.",
    )
    start_time: str = Field(
        "", description="Start time of each instance's process, unix seconds. Empty: restarts are not looked at."
    )
    _health_checks: str = PrivateAttr(TelemetryForm().health_checks_in_promql)

    def without(self, health_checks: str) -> None:
        """Leave these out, a pattern within the quotes of a PromQL string. The environment says it of itself."""
        self._health_checks = health_checks

    @field_validator("*")
    @classmethod
    def _knows_its_placeholders(cls, template: str) -> str:
        unknown = [f"{{{name}}}" for name in PLACEHOLDER.findall(template) if name not in KNOWN]
        if unknown:
            known = ", ".join(f"{{{name}}}" for name in KNOWN)
            raise ValueError(f"{', '.join(unknown)} is no placeholder; use {known}")
        return template

    def render(self, slot: str, service: Service, revision: str, *, of_users: bool = True) -> str:
        """The query of ``slot`` for one revision; not ``of_users``: with health checks and scrapes.

        Raises KeyError (no such slot), Refused (a name that is no name).
        """
        values = {"job": service.job, "revision": revision, "service": service.name}
        for name, value in values.items():
            if PLAIN.fullmatch(value) is None:
                raise Refused(
                    f"{service.name}: {name} {value!r} may not be put in a query; correct it in [[services]]."
                )
        values[HEALTH_CHECKS] = self._health_checks if of_users else NO_ROUTE
        templates: dict[str, str] = self.model_dump()
        return PLACEHOLDER.sub(lambda found: values[found[1]], templates[slot])

    def text_of(self, query: str) -> str:
        """The PromQL of ``query``, which is the name of a slot or PromQL itself, for any service and revision."""
        return self._template(query).replace(f"{{{HEALTH_CHECKS}}}", self._health_checks)

    def render_any(self, query: str, service: Service, revision: str) -> str:
        """As `render`, for the name of a slot or PromQL of a signal. Raises Refused (a name that is no name)."""
        own = self.model_copy(update={"requests": self._template(query)})
        return own.render("requests", service, revision)

    def _template(self, query: str) -> str:
        templates: dict[str, str] = self.model_dump()
        return templates.get(query, query)
