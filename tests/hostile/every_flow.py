"""Every flow x everything that may stand in the annotations of one service: how it ends, and what becomes of users.

    python tests/hostile/every_flow.py [--every N] [--flow NAME ...]

runs all of them, and ends with 1 if one is wrong. A new flow joins by its deployment in prefect.yaml; one that must be
asked something needs a line in `ASKED`.
"""
# ruff: noqa: T201  # a command line prints

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

import yaml
from annotations import Case, cases
from cloud import Behaviour
from driver import Run, TestEnvironment, flow_of, play
from emergencies import Hotfix, Mitigation, Rollback
from fixture import NEW, OLD, ROOT, SERVICES
from forks import Disturbance, Forks
from migration_rollbacks import Down
from wire import Call, Process

from blocks.signing import Signer, Signing
from flows.recovery import recovery
from playbook.errors import Unfinished
from playbook.lease.record import Record, Unreadable
from playbook.messages.facts import Audience, Message
from playbook.release.traffic import PREVIOUS_TAG
from playbook.release.version import ReleaseRequest

COORDINATOR, BACKEND, _ = SERVICES
LONGEST_S = 3 * 7200.0
"""A release may live for two hours; then a recovery ends it."""
THEIRS = "curl evil"
"""Of the annotations' own text: people never read it."""
LOOKS_BACK = frozenset({"retrospective", "quarterly-review"})
"""Flows that read the history of runs, and no service."""
Asked = Callable[[TestEnvironment], Awaitable[dict[str, Any]]]


async def _release(test_env: TestEnvironment) -> dict[str, Any]:
    test_env.fixture.publish(NEW)
    return {"request": ReleaseRequest(version=NEW)}


async def _rollback(test_env: TestEnvironment) -> dict[str, Any]:
    await (asked := Rollback("rollback")).prepare(test_env)
    return {"request": asked.asked()[1]}


async def _hotfix(test_env: TestEnvironment) -> dict[str, Any]:
    await (asked := Hotfix("hotfix")).prepare(test_env)
    return {"request": asked.asked()[1]}


async def _mitigate(test_env: TestEnvironment) -> dict[str, Any]:
    await (asked := Mitigation("mitigate")).prepare(test_env)
    return {"request": asked.asked()[1]}


async def _migration(test_env: TestEnvironment) -> dict[str, Any]:
    await (asked := Down("undo")).prepare(test_env)
    return {"request": asked.asked()[1]}


async def _watch(test_env: TestEnvironment) -> dict[str, Any]:
    test_env.fixture.publish(NEW)
    await test_env.release()
    (started,) = (one for one in test_env.server.started.values() if one.deployment.startswith("watch/"))
    return {key: value for key, value in started.parameters.items() if key != "environment"}


async def _announce(test_env: TestEnvironment) -> dict[str, Any]:
    return {"message": Message(key="r/starting", audience=Audience.RELEASES, text="v1 starts")}


async def _dead_bake(test_env: TestEnvironment) -> dict[str, Any]:
    """A bad release has users on each service, and its process has died."""
    test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
    run = test_env.start_release()
    await test_env.until(lambda: all(test_env.baking(name)() for name in SERVICES))
    run.process.die()
    test_env.cancel(run)
    return {}


ASKED: dict[str, Asked] = {
    "release": _release,
    "rollback": _rollback,
    "hotfix": _hotfix,
    "mitigate": _mitigate,
    "migration-rollback": _migration,
    "watch": _watch,
    "announce": _announce,
    "recovery": _dead_bake,
}
"""How a flow is prepared and what it is asked; the others are asked nothing."""


class Outcome(NamedTuple):
    """How one flow ended beside one hostile annotation."""

    flow: str
    case: str
    service: str
    end: str
    wrong: tuple[str, ...]


def flows() -> list[str]:
    """Every flow that has a deployment."""
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    names = {one["entrypoint"].rpartition(".")[2].replace("_", "-") for one in deployed}
    return sorted(names - LOOKS_BACK)


def outcomes(flow: str, every: int = 1, start: int = 0, jobs: int = 1) -> Iterator[Outcome]:
    """``flow`` beside each case (or each ``every``-th, from ``start`` on); the services in turn.

    What comes before is played once: each case is a copy of this process.
    """
    chosen = list(enumerate(cases()))[start::every]
    by_name = {f"{number} {case.name}": (number, case) for number, case in chosen}

    def at(process: Process, call: Call) -> Iterator[Disturbance]:
        return (Disturbance(name, lambda process, call: None) for name in by_name)

    forks = Forks(at, jobs)

    def whole() -> Outcome | None:
        return play(lambda test_env: _played(test_env, flow, forks, by_name))

    return forks.results(whole)


async def _played(
    test_env: TestEnvironment, flow: str, forks: Forks, by_name: dict[str, tuple[int, Case]]
) -> Outcome | None:
    _sign_nothing(test_env)
    prepare = ASKED.get(flow)
    parameters = await prepare(test_env) if prepare else {}
    await test_env.fixture.production.settled()
    forks.ask(Process("before", "before"), Call(0, "before", flow, ""))
    if forks.taken is None:
        return None
    number, case = by_name[forks.taken[2]]
    service = SERVICES[number % len(SERVICES)]
    state = test_env.fixture.production.services[service]
    state.annotations, state.etag = {**state.annotations, case.key: case.value}, state.etag + 1
    asked = flow_of(f"{flow}/production").validate_parameters({"environment": "production", **parameters})
    run = test_env.start(flow_of(f"{flow}/production"), **asked)
    problems = await _ends(test_env, run)
    if test_env.is_held("production"):
        problems += await _ends(test_env, test_env.start(recovery, environment="production"))
    await test_env.fixture.production.settled()
    return Outcome(flow, case.name, service, run.end, (*problems, *_wrong(test_env, flow, service, run)))


def _sign_nothing(test_env: TestEnvironment) -> None:
    """What stands in the annotations is read as it is: with a key every one of these is set aside, unread."""
    for name, environment in test_env.fixture.environments.items():
        plain = environment.model_copy(update={"signing": Signing(none=True)})
        plain.sign_with(Signer(name, ()))
        test_env.fixture.environments[name] = plain
        test_env.fixture.clouds[name].key = None


async def _ends(test_env: TestEnvironment, run: Run) -> list[str]:
    try:
        await asyncio.wait_for(test_env.ended(run), LONGEST_S)
    except TimeoutError:
        return [f"{run.process.name} does not end"]
    if run.error is not None and not isinstance(run.error, Unfinished):
        return [f"{run.process.name} failed with {type(run.error).__name__}: {str(run.error)[:200]}"]
    return []


def _wrong(test_env: TestEnvironment, flow: str, service: str, run: Run) -> Iterator[str]:
    fixture = test_env.fixture
    known = {fixture.image(name, version).digest for name in SERVICES for version in fixture.published}
    for name, state in fixture.production.services.items():
        images = {one.rpartition("@")[2] for one in (revision.image for revision in state.revisions.values())}
        if foreign := images - known - {"maintenance", f"{name}-maintenance"}:
            yield f"{name} has a revision of an image that is none of ours: {foreign}"
        if name != service and len(state.served.percent) > 1:
            yield f"{name} serves {state.served}, though nothing is wrong with it"
        if flow == "recovery" and name != service and fixture.versions_served()[name] != OLD:
            yield f"{name} was not recovered: it serves {state.served}"
        if flow == "watch" and name != service and PREVIOUS_TAG in state.split.tags:
            yield f"{name} still keeps the revision before it"
    if flow == "watch" and "watched" not in fixture.slack.keys:
        yield "people were not told how the watch went"
    said = [fixture.slack.text, *map(str, fixture.pagerduty.incidents.values()), *map(str, fixture.github.tickets)]
    if any(THEIRS in text for text in (*said, run.message)):
        yield "people read the text of the annotation"
    pages = " ".join(map(str, fixture.pagerduty.incidents.values()))
    is_aside = isinstance(Record.of(fixture.production.read(service)), Unreadable)
    if is_aside and flow in ("recovery", "rollback") and service not in pages:
        yield f"{service} was set aside, and no page names it"


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only each so many cases")
    parser.add_argument("--flow", nargs="+", choices=flows(), default=flows(), help="only these")
    parser.add_argument("--jobs", type=int, default=2, help="so many at the same time")
    options = parser.parse_args()
    wrong = total = 0
    for flow in options.flow:
        began, ends = time.perf_counter(), Counter[str]()
        for one in outcomes(flow, options.every, jobs=options.jobs):
            ends[one.end] += 1
            total += 1
            wrong += bool(one.wrong)
            for sentence in one.wrong:
                print(f"{flow}, {one.case} on {one.service}: {one.end}\n    WRONG: {sentence}", flush=True)
        print(f"{flow}: {dict(ends)} in {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{total} cases; {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
