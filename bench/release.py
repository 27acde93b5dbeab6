"""How long everything takes that is not waiting: the playbook by hand beside ours, on the same stand-in world.

python -m bench.release [--services 1 3 10] [--json FILE] [--docs]

By hand is `bench/by_hand.sh`: the playbook's own commands with gcloud and curl, with every name ready. Every figure is
one of the stand-in, whose Cloud Run makes a change in a moment.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.by_hand import by_hand
from bench.footprint import Usage, watched
from bench.speed_table import DOCS, table
from bench.tables import fill
from rehearsal.prefect_api import Run
from rehearsal.server import Backup
from rehearsal.test_environment import TestEnvironment, running_environment

Figures = dict[str, Any]
PERCENT, BAKE_S, USERS_PER_S, RESTS_S = 50, 30.0, 20.0, 20.0
POLICY = f"""\
bake_s = {BAKE_S:g}
horizon_s = {BAKE_S:g}
error_ratio_max = 0.02
phi_unknown = 1
canary_percent_max = {PERCENT}
"""
"""A bake that a canary with half of 20 requests/s can end in: what is measured here is not the judge."""
ROLLBACKS = 3
FIRST = "ethixai-ai-core"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.release", description=__doc__)
    parser.add_argument("--services", type=int, nargs="+", default=[1, 3, 10], metavar="N", help="how many services")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the figures to those in FILE")
    parser.add_argument("--docs", action="store_true", help=f"write the table of FILE into {DOCS.name}")
    parser.add_argument("--only", choices=["hand", "ours", "rollback"], help="measure this part alone")
    options = parser.parse_args(arguments)
    found: Figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    if not (options.docs and found):
        for count in options.services:
            found[str(count)] = found.get(str(count), {}) | asyncio.run(measure(count, options.only))
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if options.docs:
        DOCS.write_text(fill(DOCS.read_text(), {"speed": table(found)}))
    return 0


async def measure(count: int, only: str | None = None) -> Figures:
    """Every figure for so many services."""
    async with running_environment(policy=POLICY, services=count) as test_env:
        emergency = await test_env.server.start_worker("emergency")
        trees = {**server_trees(test_env), "emergency worker": [emergency.pid]}
        await asyncio.sleep(RESTS_S / 2)
        async with watched(trees) as resting:
            await asyncio.sleep(RESTS_S)
        found: Figures = {
            "load": round(os.getloadavg()[0], 1),
            "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        }
        found["at rest"] = plain(resting)
        if only in (None, "hand"):
            found |= await hand(test_env)
        if only in (None, "ours", "rollback"):
            async with watched(trees) as used:
                found |= await ours(test_env)
            found["in a release"] = plain(used)
        if only in (None, "ours"):
            found |= await verdict(test_env)
        return found


def server_trees(test_env: TestEnvironment) -> dict[str, list[int]]:
    """The processes of server, database and worker."""
    api, worker = test_env.server.api, test_env.server.worker
    assert api is not None
    assert worker is not None
    folder = str(test_env.server.folder)
    masters = [one.pid for one in psutil.process_iter(["cmdline"]) if _is_master(one.info["cmdline"] or [], folder)]
    return {"server": [api.pid], "database": masters, "worker": [worker.pid]}


def _is_master(command: Sequence[str], folder: str) -> bool:
    return bool(command) and command[0].endswith("postgres") and any(folder in word for word in command)


def plain(used: Mapping[str, Usage]) -> Figures:
    """Cores and megabytes of each tree."""
    return {name: {"cores": round(one.cores, 3), "mb": round(one.peak_mb)} for name, one in used.items()}


async def published(test_env: TestEnvironment, behaviours: Mapping[str, str] | None = None) -> str:
    """A new version, built by CI, with a clean world for it."""
    await test_env.clean(USERS_PER_S, policy=POLICY)
    version = test_env.new_version()
    await test_env.publish(version, behaviours)
    return version


async def hand(test_env: TestEnvironment) -> Figures:
    """A release and rollbacks by hand."""
    version = await published(test_env)
    old = {service: next(iter(shares)) for service, shares in (await test_env.world.served()).items()}
    how = {"percent": PERCENT, "bake_s": BAKE_S}
    tag = f"sha-{version.rsplit('-', 1)[-1]}"
    seq = await newest_write(test_env)
    marks = await by_hand(test_env, "release", tag=tag, **how)  # type: ignore[arg-type]
    found: Figures = {
        "hand release": marks["end"] - marks["trigger"] - BAKE_S,
        "hand first act": min(one["at"] for one in await test_env.world.writes(seq)) - marks["trigger"],
        "hand promote": marks["promoted"] - marks["healthy"],
    }
    new = {service: next(iter(shares)) for service, shares in (await test_env.world.served()).items()}
    for what in ("rollback", "rollback-checked"):
        took = []
        for _ in range(ROLLBACKS if what == "rollback" else 1):
            seq = await newest_write(test_env)
            marks = await by_hand(test_env, what, old=old, **how)  # type: ignore[arg-type]
            took.append(await users_moved_s(test_env, seq) - marks["trigger"])
            for service, revision in new.items():
                target = [{"revision": revision, "percent": 100}]
                await test_env.world.out_of_band(test_env.world.find(service), traffic=target)
        found[f"hand {what}"] = median(took)
    return found


async def ours(test_env: TestEnvironment) -> Figures:
    """A release and rollbacks of ours."""
    version = await published(test_env)
    before = await Backup(test_env.server).size_bytes()
    run, trigger_s, writes = await carried_out(
        test_env, "release/production", request_of(test_env, version), "Promoted"
    )
    shifted = [one for one in writes if len([t for t in one["traffic"] if t["percent"]]) > 1]
    steps = await test_env.prefect.steps(run.id)
    decided_s = max(step.ended_at_s for step in steps if step.name.startswith("monitor"))
    promoted = [one["served_at"] for one in writes if one["served_at"] and one["at"] > decided_s and one["traffic"]]
    assert run.ended_at_s is not None
    found: Figures = {
        "database kB": round((await Backup(test_env.server).size_bytes() - before) / 1000),
        "ours release": run.ended_at_s - trigger_s - BAKE_S,
        "ours bake": decided_s - max(one["served_at"] for one in shifted),
        "ours first act": min(one["at"] for one in writes) - trigger_s,
        "ours promote": max(promoted) - decided_s,
        "release steps": timeline(steps, trigger_s),
    }
    acts, backs, ends = [], [], []
    previous = ""
    for number in range(ROLLBACKS):
        served = ", ".join(next(iter(shares)) for shares in (await test_env.world.served()).values())
        request = {"symptom": "Error rate 0.1-0.5%", "reason": "a measurement", "requested_by": "bench"}
        to = {"to": previous} if number else {}
        run, trigger_s, writes = await carried_out(
            test_env, "rollback/production", {"request": {**request, **to}}, "RolledBack"
        )
        assert run.ended_at_s is not None
        acts.append(min(one["at"] for one in writes) - trigger_s)
        backs.append(last_move_s(writes) - trigger_s)
        ends.append(run.ended_at_s - trigger_s)
        found["rollback steps"] = timeline(await test_env.prefect.steps(run.id), trigger_s)
        found["rollback states"] = [
            f"{at_s - trigger_s:6.2f} {name}" for at_s, name in await test_env.prefect.state_times(run.id)
        ]
        previous = served
        await asyncio.sleep(2)
    found |= {"ours rollback act": median(acts), "ours rollback": median(backs), "ours rollback ends": median(ends)}
    found["ours rollback each"] = [round(one, 2) for one in backs]
    return found


async def verdict(test_env: TestEnvironment) -> Figures:
    """From the verdict on a bad canary to all users on stable."""
    version = await published(test_env, {FIRST: "errors=0.3"})
    run, _, writes = await carried_out(test_env, "release/production", request_of(test_env, version), "Reverted")
    steps = await test_env.prefect.steps(run.id)
    decided_s = max(step.ended_at_s for step in steps if step.name.startswith("monitor"))
    return {"ours stable": last_move_s([one for one in writes if one["at"] > decided_s]) - decided_s}


def request_of(test_env: TestEnvironment, version: str) -> dict[str, Any]:
    """A release with the share of users that by hand gives too."""
    asked = test_env.request(version, "a measured release")
    asked["request"]["canary_percent"] = PERCENT
    return asked


async def carried_out(
    test_env: TestEnvironment, deployment: str, parameters: dict[str, Any], ends: str
) -> tuple[Run, float, list[dict[str, Any]]]:
    """The ended run, when it was asked for (unix seconds), and what it wrote. Raises RuntimeError."""
    seq = await newest_write(test_env)
    trigger_s = time.time()
    run = await test_env.prefect.start(deployment, parameters)
    run = await test_env.prefect.wait(run.id, 300)
    if run.state != ends:
        raise RuntimeError(f"{deployment} ended {run.state}, expected {ends}: {run.message}")
    return run, trigger_s, await test_env.world.writes(seq)


async def newest_write(test_env: TestEnvironment) -> int:
    """The number of the newest write."""
    return max((one["seq"] for one in await test_env.world.writes()), default=0)


async def users_moved_s(test_env: TestEnvironment, seq: int) -> float:
    """When the last change of traffic since ``seq`` was served."""
    return last_move_s(await test_env.world.writes(seq))


def last_move_s(writes: Sequence[Mapping[str, Any]]) -> float:
    """When every user was where the newest split sends them: the last write that changed the split of its service."""
    split: dict[str, Any] = {}
    moved = 0.0
    for one in writes:
        wanted = sorted((t["revision"], t["percent"]) for t in one["traffic"] if t["percent"])
        if one["applied"] and wanted and split.get(one["resource"]) != wanted:
            split[one["resource"]] = wanted
            moved = max(moved, one["served_at"] or 0.0)
    return moved


def timeline(steps: Sequence[Any], began_s: float) -> list[str]:
    """The steps with when they began and ended, in seconds."""
    return [f"{one.started_at_s - began_s:6.2f} {one.ended_at_s - began_s:6.2f} {one.name}" for one in steps]


if __name__ == "__main__":
    sys.exit(main())
