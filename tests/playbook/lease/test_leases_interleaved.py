"""Claims under any interleaving: releases, a hotfix, recoveries, crashes and a person at the console, one read or
write at a time.

Every process reads, decides on what it read, and writes later under the etag it read: between the two anything may
happen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from playbook.errors import ReleaseError
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import Decision, HotfixLease, Kind, Lease, ReleaseLease, ServiceRollout
from playbook.lease.record import Record
from playbook.release.request import HotfixRequest
from playbook.release.traffic import ServiceSnapshot, TrafficSplit

SERVICES = ("lead", "member")
AT_ONCE = 3
FIX = "v20251117-hotfix1-fed987"
NOW_S = 1_763_647_200.0
Step = Callable[[ServiceSnapshot], Change | None]


@dataclass
class Process:
    """One run that holds, or wants, a release; ``read`` is what it decided on and has not written yet."""

    lease: Lease
    steps: list[tuple[str, Step]]
    read: tuple[str, str, Change] | None = None
    then: Callable[[], "Process"] | None = None
    """what the same run goes on with once these steps are done"""


def steps_of(lease: Lease) -> list[tuple[str, Step]]:
    """Every write of a release that is promoted, the lead first in each step."""
    baking = lease.decided(Decision.BAKE)
    promoting = baking.baking_from(NOW_S).decided(Decision.PROMOTE)
    plan: list[Step] = [
        partial(change.to_acquire, lease=lease),
        partial(change.to_deploy, lease=lease, overrides={}),
        partial(change.to_bake, lease=baking),
        partial(change.to_promote, lease=promoting),
    ]
    writes = [(service, step) for step in plan for service in SERVICES]
    return [*writes, *((s, partial(change.to_release_lease, lease=promoting, now_s=NOW_S)) for s in reversed(SERVICES))]


def reverting(found: Lease, lease: Lease) -> list[tuple[str, Step]]:
    """Every write of a recovery that takes ``found`` over and reverts it."""
    back = lease.decided(Decision.REVERT)
    return [
        *((s, partial(change.to_take_over, lease=lease, found=found)) for s in SERVICES),
        *((s, partial(change.to_revert, lease=back)) for s in SERVICES),
        *((s, partial(change.to_release_lease, lease=back, now_s=NOW_S)) for s in reversed(SERVICES)),
    ]


def stand(lease: Lease) -> tuple[Decision, float | None]:
    """How far the users of a release had come before it was taken back, if it was."""
    return lease.came_to or lease.decision, lease.bake_start_s


class Claims(RuleBasedStateMachine):
    """Two services, any number of processes, one person. ``enforces``: a write under an older version is refused."""

    enforces = True

    def __init__(self) -> None:
        super().__init__()
        self.world = {s: self._settled(s, TrafficSplit.all_to(f"{s}-0"), 0) for s in SERVICES}
        self.processes: list[Process] = []
        self.theirs: dict[str, TrafficSplit] = {}
        self.epochs = dict.fromkeys(SERVICES, 0)
        self.tries = 0
        self.taken_back: dict[tuple[str, str], int] = {}
        """(service, release) -> the epoch that took it back"""

    @staticmethod
    def _settled(service: str, split: TrafficSplit, number: int) -> ServiceSnapshot:
        newest = f"{service}-{number}"
        return ServiceSnapshot(
            service=service, etag="0", uri="", split=split, served=split, latest_ready=newest, latest_created=newest
        )

    def _epoch(self) -> int:
        return 1 + max(Record.read(snapshot).epoch for snapshot in self.world.values())

    @precondition(lambda self: len(self.processes) < AT_ONCE)
    @rule()
    def a_release_begins(self) -> None:
        """It plans on what it reads now, and claims later."""
        self.processes.append(self._release())

    def _release(self, hotfix: HotfixRequest | None = None) -> Process:
        """A run that has planned on what it reads now, and has written nothing yet."""
        self.tries += 1
        rollouts = tuple(
            ServiceRollout(
                service=s,
                from_revision=self.world[s].pinned.main,
                found=self.world[s].pinned,
                to_revision=f"{s}-{self.tries}",
                image="r@sha256:x",
                latest_created=self.world[s].latest_created,
            )
            for s in SERVICES
        )
        name = f"v20251116-{'hotfix1-' if hotfix else ''}abc{self.tries:03d}"
        fields: dict[str, object] = dict(  # noqa: C408
            release_id=f"{name}-x",
            version=name,
            flow_run_id=f"{self.tries:032x}",
            epoch=self._epoch(),
            rollouts=rollouts,
            canary_percent=10,
            deadline_s=NOW_S,
        )
        lease = HotfixLease(request=hotfix, **fields) if hotfix else ReleaseLease(**fields)
        return Process(lease, steps_of(lease))

    @precondition(lambda self: len(self.processes) < AT_ONCE and Record.read(self.world["lead"]).lease)
    @rule()
    def a_recovery_begins(self) -> None:
        """It may be a false alarm: the process it replaces may well live."""
        found = Record.read(self.world["lead"]).lease
        assert found is not None
        self.tries += 1
        lease = found.model_copy(update={"epoch": self._epoch(), "flow_run_id": f"{self.tries:032x}"})
        self.processes.append(Process(lease, reverting(found, lease)))

    @precondition(lambda self: len(self.processes) < AT_ONCE and Record.read(self.world["lead"]).lease)
    @rule()
    def a_hotfix_begins(self) -> None:
        """It takes the release that runs back, as nobody else may any more, and then begins one of its own."""
        found = Record.read(self.world["lead"]).lease
        assert found is not None
        if not Kind.HOTFIX.may_take_over(found.kind):
            return
        self.tries += 1
        update = {"epoch": self._epoch(), "flow_run_id": f"{self.tries:032x}"}
        lease = found.model_copy(update=update).giving_way("a hotfix")
        fix = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")
        self.processes.append(Process(lease, reverting(found, lease), then=lambda: self._release(fix)))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), writes=st.integers(0, 8))
    def somebody_goes_on(self, data: st.DataObject, writes: int) -> None:
        """A process makes some of its next writes undisturbed, then reads once more and is left with what it
        decided."""
        process = data.draw(st.sampled_from(self.processes))
        for _ in range(writes):
            if self._reads(process):
                self._writes(process)
        self._reads(process)

    def _reads(self, process: Process) -> bool:
        """It reads the service of its next step and decides; what it may not do ends it."""
        while process.steps and process in self.processes and not process.read:
            service, step = process.steps[0]
            snapshot = self.world[service]
            try:
                wanted = step(snapshot)
            except ReleaseError:
                self.processes.remove(process)
                return False
            if wanted is None:
                process.steps.pop(0)
                self._goes_on(process)
            else:
                process.read = (service, snapshot.etag, wanted)
        return process.read is not None

    def _goes_on(self, process: Process) -> None:
        """A run whose steps are done goes on with what comes then, if anything does."""
        if not process.steps and process.then:
            self.processes[self.processes.index(process)] = process.then()

    def _writes(self, process: Process) -> None:
        """What was decided is written if the etag is still the one that was read; otherwise it is decided again."""
        assert process.read is not None
        service, etag, wanted = process.read
        process.read = None
        now = self.world[service]
        if self.enforces and etag != now.etag:
            return
        before = Record.read(now)
        assert wanted.record.epoch >= before.epoch, "an older epoch overwrote a newer one"
        assert before.holder in ("", process.lease.release_id), "a release took what another one holds"
        if before.lease and wanted.record.lease and wanted.record.epoch > before.epoch:
            assert stand(wanted.record.lease) == stand(before.lease), "what the older process had noted was lost"
        split = wanted.split or now.split
        stable = process.lease.rollout(service).found
        if service in self.theirs and not stable.moves_like(self.theirs[service]):
            assert split.moves_like(self.theirs[service]), "what a person set was overwritten"
        self._check_who_took_it_back(service, process.lease, now.split, split)
        newest = wanted.deployment.revision if wanted.deployment else now.latest_created
        self.world[service] = now.model_copy(
            update={
                "etag": str(int(now.etag) + 1),
                "annotations": wanted.record.beside(now.annotations),
                "split": split,
                "served": split,
                "latest_created": newest,
            }
        )
        if not split.moves_like(self.theirs.get(service, split)):
            del self.theirs[service]  # a release that was planned on the person's traffic may move it

    def _check_who_took_it_back(self, service: str, lease: Lease, was: TrafficSplit, becomes: TrafficSplit) -> None:
        """A release that was taken back is taken back once, and nobody moves its users forward after that."""
        canary, what = lease.rollout(service).to_revision, (service, lease.release_id)
        if canary in was.percent and canary not in becomes.percent:
            assert what not in self.taken_back, "a release was taken back twice"
            self.taken_back[what] = lease.epoch
        elif canary in becomes.percent and canary not in was.percent:
            assert what not in self.taken_back, f"moved forward after epoch {self.taken_back[what]} took it back"

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def a_process_dies(self, data: st.DataObject) -> None:
        """Without a word, whatever it was about to write."""
        self.processes.remove(data.draw(st.sampled_from(self.processes)))

    @rule(service=st.sampled_from(SERVICES))
    def a_person_moves_traffic(self, service: str) -> None:
        """To a revision that no release knows."""
        now = self.world[service]
        split = TrafficSplit.all_to("theirs")
        update = {"etag": str(int(now.etag) + 1), "split": split, "served": split, "last_modifier": "ada"}
        self.world[service] = now.model_copy(update=update)
        self.theirs[service] = split

    @invariant()
    def epochs_only_grow(self) -> None:
        """Whatever happens, no service ever goes back to an older epoch."""
        for service, snapshot in self.world.items():
            epoch = Record.read(snapshot).epoch
            assert epoch >= self.epochs[service]
            self.epochs[service] = epoch

    @invariant()
    def one_release_holds_the_lead(self) -> None:
        """A member that is held points to a release that was claimed on the lead first: never to one the lead never
        had."""
        participant = Record.read(self.world["member"])
        if participant.participant is not None:
            assert participant.epoch <= max(self.epochs.values())
            assert self.epochs["lead"] >= participant.epoch, "a member was claimed before its lead"


Claims.TestCase.settings = settings(max_examples=100, stateful_step_count=50, suppress_health_check=list(HealthCheck))
TestClaims = Claims.TestCase


class Unenforced(Claims):
    """The same on a Cloud Run that takes every write, as v2 does whatever its etag says."""

    enforces = False


def test_all_of_this_rests_on_the_resource_version() -> None:
    """With it off, the same processes overwrite each other: the proof above would show it."""
    looks = settings(
        Claims.TestCase.settings, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False
    )
    with pytest.raises(AssertionError, match=r"older epoch|another one holds|was lost|overwritten|twice|took it back"):
        run_state_machine_as_test(Unenforced, settings=looks)
