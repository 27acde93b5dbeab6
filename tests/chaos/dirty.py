"""What a dirty world does while a release runs: one event at one call. Other people's tags, templates and traffic."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cases import Case
from cloud import Behaviour, RevisionState, ServiceState
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES
from forks import Disturbance, Forks
from scenarios import ChaosScenario, Release
from wire import Call, Process

from flows.recovery import recovery
from playbook.errors import Unfinished
from playbook.lease.record import PREFIX, Record
from playbook.release.traffic import TrafficSplit

PREVIEW, OTHER = "pr-9", "pr-1"
"""Other people's tags: one that comes with a preview, and one that is there from the start."""
WHY = {"annotation garbage": "annotations", "write accepted, then failing": "Container import failed"}
"""A word of the reason that a page has to give, where the event itself is the reason."""
LONGEST_S = 3 * 7200.0
"""A release may live for two hours; then a recovery ends it."""


class Event(NamedTuple):
    """One thing that happens to one service."""

    name: str
    happen: Callable[[TestEnvironment, ServiceState, str], None]


def _deployed(test_env: TestEnvironment, state: ServiceState, service: str, suffix: str, **env: str) -> str:
    """A person's revision at 0 %, with the image that serves."""
    base, name = state.revisions[state.served.main], f"{service}-{suffix}"
    state.revisions[name] = RevisionState(
        base.image, test_env.fixture.now(), Behaviour(), True, env={**base.env, **env}
    )
    state.latest_created = state.latest_ready = name
    return name


def _touched(state: ServiceState, split: TrafficSplit | None = None) -> None:
    state.etag, state.last_modifier = state.etag + 1, "ada@example.com"
    if split is not None:
        state.split = split
        pinned = {state.latest_ready if on == "LATEST" else on: share for on, share in split.percent.items()}
        state.served = TrafficSplit(percent=pinned, tags=split.tags)


def _preview(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    serving = {state.served.main: 100} if "LATEST" in state.split.percent else state.split.percent
    name = _deployed(test_env, state, service, "00009-pr", DB_POOL="1")
    _touched(state, TrafficSplit(percent=serving, tags={**state.split.tags, PREVIEW: name}))


def _tag_removed(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    _touched(state, state.split.without_tags(OTHER))


def _tag_dies(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    state.revisions.pop(f"{service}-00001-pr", None)
    state.etag += 1


def _template(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    serving = {state.served.main: 100} if "LATEST" in state.split.percent else state.split.percent
    _deployed(test_env, state, service, "00008-ada", DB_POOL="50")
    _touched(state, TrafficSplit(percent=serving, tags=state.split.tags))


def _traffic(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    name = _deployed(test_env, state, service, "00007-ada")
    _touched(state, TrafficSplit.all_to(name, state.split.tags))


def _garbage(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    key = next((key for key in state.annotations if key in (PREFIX + "claim", PREFIX + "member")), PREFIX + "last-good")
    state.annotations = {**state.annotations, key: "{"}
    state.etag += 1


def _write_fails(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    state.fails_next = "Container import failed."


def _never_ends(test_env: TestEnvironment, state: ServiceState, service: str) -> None:
    state.never_ends = True


EVENTS = (
    Event("preview deployed", _preview),
    Event("tag removed", _tag_removed),
    Event("tag's revision deleted", _tag_dies),
    Event("template changed", _template),
    Event("traffic changed", _traffic),
    Event("annotation garbage", _garbage),
    Event("write accepted, then failing", _write_fails),
    Event("operation never ending", _never_ends),
)


def with_others(scenario: ChaosScenario, test_env: TestEnvironment) -> None:
    """Every production service has another person's tag on a revision of theirs."""
    for service, state in test_env.fixture.production.services.items():
        base = state.revisions[state.served.main]
        name = f"{service}-00001-pr"
        state.revisions[name] = RevisionState(base.image, base.created_at_s - 60, Behaviour(), True)
        state.split = state.split.with_tag(OTHER, name)
        state.served = state.served.with_tag(OTHER, name)


def dirtied(scenario: ChaosScenario, event: Event, service: str, at: int) -> tuple[str, float, list[str]]:
    """The scenario with one event at the call ``at`` of its run. Returns outcome, virtual seconds, violations."""
    happened: list[str] = []

    def strikes(process: Process, call: Call) -> tuple[Event, str] | None:
        if call.n != at or not process.name.endswith(" 0") or happened:
            return None
        happened.append(event.name)
        return event, service

    test_env, run = play(lambda test_env: _played(test_env, scenario, strikes))
    return scenario.outcome(test_env), test_env.ended_s, list(wrong(test_env, scenario, event, service, run))


def dirty(scenario: ChaosScenario, every: int = 1, jobs: int = 1) -> Iterator[Case]:
    """Each event at every call (or each ``every``-th) of the scenario's run, the services in turn."""

    def at(process: Process, call: Call) -> Iterator[Disturbance]:
        for index, event in enumerate(EVENTS):
            if process.name.endswith(" 0") and (call.n - index) % every == 0:
                yield Disturbance(event.name, lambda process, call: None)

    def chosen() -> tuple[Call, Event, str]:
        assert forks.taken is not None
        _, call, name = forks.taken
        index = next(index for index, event in enumerate(EVENTS) if event.name == name)
        return call, EVENTS[index], SERVICES[(call.n + index) % len(SERVICES)]

    def strikes(process: Process, call: Call) -> tuple[Event, str] | None:
        if forks.taken:
            return None
        forks.ask(process, call)
        return chosen()[1:] if forks.taken else None

    def whole() -> Case | None:
        test_env, run = play(lambda test_env: _played(test_env, scenario, strikes))
        if not forks.taken:
            return None
        call, event, service = chosen()
        problems = tuple(wrong(test_env, scenario, event, service, run))
        outcome = scenario.outcome(test_env)
        return Case(scenario.name, service[8:], call, event.name, outcome, test_env.ended_s, problems)

    forks = Forks(at, jobs)
    return forks.results(whole)


async def _played(
    test_env: TestEnvironment, scenario: ChaosScenario, strikes: Callable[[Process, Call], tuple[Event, str] | None]
) -> tuple[TestEnvironment, Run]:
    """The whole scenario; ``strikes`` says which event happens to which service at a call."""
    with_others(scenario, test_env)

    def strike(process: Process, call: Call) -> None:
        if struck := strikes(process, call):
            event, service = struck
            event.happen(test_env, test_env.fixture.production.services[service], service)

    test_env.fixture.wire.faults.append(strike)
    began_s = test_env.fixture.now()
    run = await scenario.begin(test_env, {})
    await scenario.follow(test_env, run)
    if len(records_of(test_env)) < len(SERVICES):  # the run has Failed, or the schedule comes: a recovery looks
        await test_env.follow(recovery, environment="production")
    test_env.ended_s = test_env.fixture.now() - began_s
    await test_env.ended(*test_env.runs)
    await test_env.catch_up()
    return test_env, run


def wrong(test_env: TestEnvironment, scenario: ChaosScenario, event: Event, service: str, run: Run) -> Iterator[str]:
    """A sentence for each invariant that does not hold: an end in time, users safe or a page, others' tags as left."""
    fixture = test_env.fixture
    if test_env.ended_s > LONGEST_S:
        yield f"it took {test_env.ended_s:.0f} s"
    for one in test_env.runs:
        if one.end == "Running" or (one.end == "Failed" and not isinstance(one.error, Unfinished)):
            yield f"{one.process.name} ended {one.end}: {one.message[:200]}"
    pages = [str(page) for page in fixture.pagerduty.incidents.values()]
    may_serve = {OLD, NEW} if isinstance(scenario, Release) and scenario.is_good else {OLD}
    images = {fixture.image(name, version).digest for name in SERVICES for version in may_serve}
    for name, state in fixture.production.services.items():
        serving = state.served.percent
        is_good = all(state.revisions[on].image.rsplit("@", 1)[-1] in images for on in serving)
        is_settled = len(serving) == 1 and is_good
        says = (f"{name}: ", *(f"{share} % on {on}" for on, share in serving.items()), WHY.get(event.name, ""))
        if not is_settled and not any(all(words in page for words in says) for page in pages):
            yield f"{name} serves {state.served}, and no page says so and why"
        is_ours = any(key in state.annotations for key in (PREFIX + "claim", PREFIX + "member"))
        if is_ours and not any(name in page or service in page for page in pages):
            yield f"{name} still carries a lease, and no page names it or the service that it waits for"
    yield from _others(test_env, event, service)
    for where, channel in fixture.rooms.items():
        for key, times in Counter(message.key for message in channel.said).items():
            if times > 1:
                yield f"{where}: {key} was sent {times} times"
    keys = fixture.slack.keys
    if "complete" in keys and "rolled-back" in keys:
        yield "people were told that it is complete, and that it was rolled back"
    if "complete" in keys and event.name != "traffic changed" and OLD in fixture.versions_served().values():
        yield f"people were told that it is complete: {fixture.versions_served()}"


def _others(test_env: TestEnvironment, event: Event, service: str) -> Iterator[str]:
    """Other people's tags are as they left them; one whose revision is gone may have been dropped."""
    for name, state in test_env.fixture.production.services.items():
        is_hit = name == service
        theirs = {OTHER: f"{name}-00001-pr"}
        if is_hit and event.name in ("tag removed", "tag's revision deleted"):
            theirs = {}
            if event.name == "tag removed" and OTHER in state.split.tags and event_happened(test_env, name):
                yield f"{name}: tag {OTHER} is back"
        if is_hit and event.name == "preview deployed" and f"{name}-00009-pr" in state.revisions:
            theirs[PREVIEW] = f"{name}-00009-pr"
        for tag, on in theirs.items():
            if state.split.tags.get(tag) != on:
                yield f"{name}: tag {tag} of another person is on {state.split.tags.get(tag)}"


def event_happened(test_env: TestEnvironment, service: str) -> bool:
    """Whether the run came to the call of the event."""
    return test_env.fixture.production.services[service].last_modifier == "ada@example.com"


def records_of(test_env: TestEnvironment) -> dict[str, Record]:
    """The record of each production service that can be read."""
    cloud = test_env.fixture.production
    found = {name: Record.parse(name, cloud.read(name).annotations) for name in cloud.services}
    return {name: record for name, record in found.items() if isinstance(record, Record)}
