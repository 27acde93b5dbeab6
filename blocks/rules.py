"""What must be true of an environment beyond the types of its fields: rules across fields and vendors."""

import difflib
from collections.abc import Iterator

from pydantic import BaseModel

from blocks.cloud_run import CloudRun
from blocks.environment import Environment
from blocks.queries import KNOWN, PLACEHOLDER, Queries
from blocks.slack import Slack
from blocks.toml_lines import Place
from playbook.analysis.policy import EVERY_SERVICE, Policy
from playbook.analysis.signals import DEFAULT_SIGNALS
from playbook.incident.response import Call
from playbook.release.traffic import TAG_MAX

Problem = tuple[Place, str]
"""Where it stands in the file, and what it is with the next step."""

TAG_AND_SERVICE_MAX = 46
"""Characters of a traffic tag and its service's name together. Cloud Run refuses more."""
NAME_MAX = TAG_AND_SERVICE_MAX - TAG_MAX
DURATION_MAX_S = 366 * 86_400.0
"""A longer one is a mistake: a clock that many seconds ahead of now may not even be a date."""
ORDERED = (
    ("error_ratio_investigate", "error_ratio_max", "nothing would be left for a person to decide"),
    ("p95_max_s", "p95_rollback_s", "a canary would be scaled before it is investigated"),
    ("scale_min_instances", "scale_max_instances", "a service could not be scaled"),
    ("scrape_s", "freshness_s", "every sample would be stale"),
    ("tick_s", "freshness_s", "a canary would not be looked at for longer than a sample counts"),
    ("bake_s", "claim_deadline_s", "the lease would end before the bake, and recovery would revert the release"),
    ("bake_max_s", "claim_deadline_s", "the lease could end before the bake, and recovery would revert the release"),
)
"""Fields of [policy] of which the first must not be above the second, and what would happen."""


def problems(environment: Environment) -> list[Problem]:
    """Everything that is wrong with an environment whose fields are each right."""
    return [
        *_names(environment),
        *_staging(environment),
        *_policy(environment),
        *_order(environment),
        *_durations(environment),
        *_queries(environment),
        *_signals(environment),
        *_pagers(environment),
        *_routing(environment),
        *_signing(environment),
    ]


def warnings(environment: Environment) -> list[str]:
    """What a person should know of an environment that may be used as it is."""
    if environment.is_production and environment.server_notices is None:
        return [
            "people are not told when no worker is there and a release does not start: add [server_notices] "
            "(docs/operations.md, What the server tells)"
        ]
    return []


def _names(environment: Environment) -> Iterator[Problem]:
    for index, service in enumerate(environment.services):
        if len(service.name) > NAME_MAX and service.has_tags:
            yield (
                ("services", index, "name"),
                f"{service.name} has {len(service.name)} characters, and a traffic tag of ours {TAG_MAX}: more than "
                f"the {TAG_AND_SERVICE_MAX} that Cloud Run allows. Use a name of at most {NAME_MAX}, or write "
                "has_tags = false: then a new revision is not smoke-tested before it has users.",
            )


def _policy(environment: Environment) -> Iterator[Problem]:
    policy = environment.policy
    for name in policy.low_traffic:
        if name not in (EVERY_SERVICE, *environment.service_names):
            known = ", ".join(environment.service_names)
            yield ("policy", "low_traffic", name), f"there is no service {name!r}; [[services]] has {known}."
    is_google = isinstance(environment.cloud_run, CloudRun) and not environment.cloud_run.api_endpoint
    if policy.name == Policy.compressed().name and is_google:
        yield (
            ("policy", "base"),
            'the "compressed" policy is for rehearsals: its bake is one minute. Use base = "playbook" for services '
            "on Google Cloud.",
        )
    needed_s = max(policy.literal_window_s, policy.freshness_s, policy.settle_s + 2 * policy.scrape_s)
    if 0 < policy.bake_s < needed_s:
        yield (
            ("policy", "bake_s"),
            f"a bake of {policy.bake_s:g} s is too short to collect evidence; it needs at least {needed_s:g} s "
            "(literal_window_s, freshness_s, and two scrapes after the shift). Use 0 for no canary phase.",
        )


def _staging(environment: Environment) -> Iterator[Problem]:
    if environment.staging == environment.name:
        yield (
            ("staging",),
            f"{environment.name} would have to pass itself first. Name another environment, or leave it out.",
        )


def _order(environment: Environment) -> Iterator[Problem]:
    for low, high, otherwise in ORDERED:
        least, most = getattr(environment.policy, low), getattr(environment.policy, high)
        if least > most:
            text = f"{low} = {least:g} is above {high} = {most:g}: {otherwise}. Correct one of them."
            yield ("policy", low), text


def _durations(environment: Environment) -> Iterator[Problem]:
    """Seconds that are no duration: infinite, or longer than a year."""
    tables: list[tuple[Place, object]] = []
    for name in type(environment).model_fields:
        value = getattr(environment, name)
        entries = enumerate(value) if isinstance(value, list | tuple) else ()
        tables += [((name,), value), *(((name, index), entry) for index, entry in entries)]
    for place, table in tables:
        for field in type(table).model_fields if isinstance(table, BaseModel) else ():
            value = getattr(table, field) if field.endswith("_s") else None
            if isinstance(value, int | float) and value > DURATION_MAX_S:
                yield (*place, field), f"{value:g} s is longer than a year. Write it in seconds: 15 minutes is 900."


def _queries(environment: Environment) -> Iterator[Problem]:
    for slot in Queries.model_fields:
        query = getattr(environment.queries, slot)
        if query and "{revision}" not in query:
            yield ("queries", slot), "{revision} is missing, so canary and stable cannot be told apart."


def _signals(environment: Environment) -> Iterator[Problem]:
    slots = [slot for slot in Queries.model_fields if slot != "error_ratio"]
    shipped = {one.name: one for one in DEFAULT_SIGNALS}
    for index, signal in enumerate(environment.signals):
        if signal == shipped.get(signal.name):
            continue
        for name in signal.services:
            if name not in environment.service_names:
                near = difflib.get_close_matches(name, environment.service_names, 1)
                yield (
                    ("signals", index, "services"),
                    f"there is no service {name!r}; {f'did you mean {near[0]!r}?' if near else 'see [[services]].'}",
                )
        for key in ("total", "bad", "query"):
            query = getattr(signal, key, "")
            if not query or query in slots:
                continue
            place: Place = ("signals", index, key)
            if unknown := [f"{{{name}}}" for name in PLACEHOLDER.findall(query) if name not in KNOWN]:
                known = ", ".join(f"{{{name}}}" for name in KNOWN)
                yield place, f"{', '.join(unknown)} is no placeholder; use {known}."
            elif "{revision}" not in query:
                near = difflib.get_close_matches(query, slots, 1)
                hint = f" Did you mean {near[0]!r} of [queries]?" if near else ""
                yield place, f"{{revision}} is missing, so canary and stable cannot be told apart.{hint}"
        for_s = getattr(signal, "for_s", None)
        if for_s is not None and 0 < environment.policy.bake_s < for_s:
            yield (
                ("signals", index, "for_s"),
                f"{for_s:g} s is longer than the bake ({environment.policy.bake_s:g} s), so it could never be reached.",
            )


def _pagers(environment: Environment) -> Iterator[Problem]:
    if environment.pager == "none" and environment.pagers:
        yield ("pager",), 'pager is "none", and there is a pager too. Remove one of them.'
    if environment.is_production and not environment.pagers and environment.pager != "none":
        yield (
            ("pagers",),
            "production has no pager: no person is told at night when a rollback fails. Add a table [pagerduty], or "
            'write pager = "none".',
        )


def _routing(environment: Environment) -> Iterator[Problem]:
    pagers = [one.name for one in environment.pagers]
    for name in environment.routing.pagers:
        if name not in pagers:
            known = ", ".join(pagers) or "none"
            yield ("routing", "pagers", name), f"there is no pager {name!r}; there is {known}."
    if pagers and all(name in environment.routing.pagers for name in pagers):
        for call in (Call.P0, Call.P1):
            if not any(call in wanted for wanted in environment.routing.pagers.values()):
                yield ("routing", "pagers"), f"no pager is called for {call}; name one."
    for kind, audiences in environment.routing.channels.items():
        if not audiences:
            yield ("routing", "channels", kind.value), "no audience gets it; remove the line, or name one."
        for one in environment.channels:
            if isinstance(one, Slack) and (missing := [str(a) for a in audiences if a not in one.channels]):
                where = f"[slack.channels] has no {' and no '.join(missing)}"
                yield ("routing", "channels", kind.value), f"{where}; add the channel's id there."
    contacts = environment.contacts.values()
    if any(one.called_for for one in contacts):
        for call in (Call.P0, Call.P1, Call.SECURITY):
            if not any(call in one.called_for for one in contacts):
                yield ("contacts",), f"no contact is called for {call}; add it to called_for of one contact."


def _signing(environment: Environment) -> Iterator[Problem]:
    signing = environment.signing
    if signing.none and signing.secrets:
        yield ("signing",), "says that nothing is signed, and names keys too. Remove one of them."
    if environment.is_production and not signing.secrets and not signing.none:
        yield (
            ("signing",),
            "production has no signing key: what another account writes into a service's annotations would be taken "
            'for a release of ours. Add [signing] with keys = [{secret_manager = "…"}], or write signing = "none".',
        )
