"""From what a service's message says to what is to run and where requests go. No I/O."""

from typing import Any

from rehearsal.world.cloud_run.state import LATEST, MANUAL, Plan, ServiceState, TrafficTarget
from rehearsal.world.proxy import Server


def plan_for(state: ServiceState, wanted: Any, latest: str, new: str = "") -> Plan:
    """Targets with LATEST resolved, and instances per revision. ``new`` is LATEST while it is being started."""
    scaling = wanted.scaling
    targets = tuple(
        (t.revision if t.type_ != LATEST else (new or latest), t.percent, t.tag)
        for t in wanted.traffic or [TrafficTarget(type_=LATEST, percent=100)]
    )
    percents: dict[str, int] = {}
    for name, percent, _ in targets:
        percents[name] = percents.get(name, 0) + percent
    is_manual = scaling.scaling_mode == MANUAL
    total = scaling.manual_instance_count if is_manual else scaling.min_instance_count
    counts = {
        name: _count(state, name, -(-total * percent // 100), is_off=is_manual and total == 0 and percent > 0)
        for name, percent in percents.items()
    }
    return Plan(targets, counts)


def _count(state: ServiceState, name: str, share: int, *, is_off: bool) -> int:
    """Instances of one revision that traffic or a tag reaches: its share, its own minimum, one, at most its maximum."""
    if is_off or name not in state.revisions:
        return 0
    scaling = state.revisions[name].template.scaling
    return min(max(1, share, int(scaling.min_instance_count)), int(scaling.max_instance_count))


def routes_of(state: ServiceState, plan: Plan) -> dict[str, dict[str, tuple[int, list[Server]]]]:
    """For the service's own URL and each tag's: the revisions behind it with percent and servers."""
    servers = {
        name: [Server(f"{name}.{i.number}", i.address) for i in revision.instances[: plan.counts.get(name, 0)]]
        for name, revision in state.revisions.items()
    }
    routes: dict[str, dict[str, tuple[int, list[Server]]]] = {str(state.name): {}}
    for name, percent, tag in plan.targets:
        before = routes[str(state.name)].get(name, (0, []))[0]
        routes[str(state.name)][name] = (before + percent, servers[name])
        if tag:
            routes[f"{state.name}#{tag}"] = {name: (100, servers[name])}
    return routes
