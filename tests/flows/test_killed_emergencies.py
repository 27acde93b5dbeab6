"""A rollback and a hotfix that are killed at their calls to the outside: whoever recovers finishes them, and says it
once."""

from dataclasses import replace

import pytest
from driver import Stage, play
from scene import NEW, OLD, SERVICES
from wire import Moment

from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.claim import Promotion, Record
from playbook.matrix import Symptom
from playbook.requests import HotfixRequest, RollbackRequest
from playbook.traffic import TrafficSplit

ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)
FIX = "v20251117-hotfix1-fed987"
ALL_FIX = dict.fromkeys(SERVICES, FIX)
BACK = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
DIRECT = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")
EVERY = 9
"""A hotfix makes some hundred calls; each ninth is enough to die in each of its steps."""


def after_a_release(stage: Stage) -> None:
    """NEW serves everybody, OLD before it is written down as good."""
    stage.scene.publish(NEW)
    for service, state in stage.scene.production.services.items():
        old = state.revisions[f"{service}-00001-old"]
        state.revisions[f"{service}-new"] = replace(old, image=str(stage.scene.image(service, NEW)), shares=[])
        state.split = state.served = TrafficSplit.all_to(f"{service}-new")
        state.latest_created = state.latest_ready = f"{service}-new"
        goods = (_good(NEW, f"{service}-new", 2.0), _good(OLD, f"{service}-00001-old", 1.0))
        state.annotations = Record(epoch=1, last_good=goods).annotations()


def _good(version: str, revision: str, at_s: float) -> Promotion:
    return Promotion(release=version, revision=revision, digest="", promoted_at_s=at_s)


def told(stage: Stage, words: str) -> int:
    """How many messages say so."""
    return sum(words in message.text for message in stage.scene.slack.said)


async def roll_back(stage: Stage, orders: dict[int, Moment] | None = None) -> int:
    """A rollback, and what recovers it. How many calls it made."""
    after_a_release(stage)
    run = stage.start(rollback, orders, request=BACK, environment="production")
    await stage.ended(run)
    await stage.recover()
    await stage.catch_up()
    return len(run.process.calls)


async def fix(stage: Stage, orders: dict[int, Moment] | None = None) -> int:
    """A hotfix, and what recovers it. How many calls it made."""
    for where in ("staging", "production"):
        stage.scene.publish(FIX, where=where)
    run = stage.start(hotfix, orders, request=DIRECT, environment="production")
    await stage.ended(run)
    await stage.recover()
    await stage.catch_up()
    return len(run.process.calls)


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.APPLIED], ids=str)
def test_a_killed_rollback_is_finished(moment: Moment) -> None:
    """At whichever call it dies: users are all on one version; once one service has moved, all are back; told once."""
    for n in range(play(roll_back)):

        async def story(stage: Stage, n: int = n) -> None:
            await roll_back(stage, {n: moment})
            where = f"killed at call {n}, {moment}: {stage.runs[0].process.calls[-1]}"
            served, moved = stage.scene.versions_served(), any(w.moved for w in stage.scene.production.writes)
            assert served == (ALL_OLD if moved else ALL_NEW), where
            assert not stage.is_held("production"), where
            assert told(stage, "❌ PRODUCTION ROLLBACK EXECUTED") == int(moved), where
            assert len(stage.scene.github.tickets) == int(moved), where

        play(story)


def test_a_killed_hotfix_is_finished() -> None:
    """At each ninth call: everybody has it, or nobody where it had not got so far; nothing is held; told once."""
    for n in range(0, play(fix), EVERY):

        async def story(stage: Stage, n: int = n) -> None:
            await fix(stage, {n: Moment.APPLIED})
            where = f"killed at call {n}: {stage.runs[0].process.calls[-1]}"
            served = stage.scene.versions_served()
            assert served in (ALL_FIX, ALL_OLD), where
            assert not stage.is_held("production"), where
            assert told(stage, "🚨 HOTFIX DEPLOYED") == int(served == ALL_FIX), where

        play(story)
