"""The checks before a release against the stand-ins, over real HTTP and gRPC: each result, and each way to get none."""

import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prefect import runtime
from prefect.logging import disable_run_logger
from pydantic import SecretStr

from blocks import GitHub, PagerDuty, Registry, SecretManager, Sentry, Slack, files
from blocks.environment import Environment
from blocks.secret_reference import SecretReference
from playbook.checklist.items import Answer, Item, Override, Topic
from playbook.incident.response import Call
from playbook.messages.facts import Audience
from playbook.messages.routing import Routing
from playbook.release.plan import Order
from playbook.release.version import Image, Version
from rehearsal.world.remote import RemoteWorld
from tasks.checklist import check_item
from tasks.flight import check_dependency

ROOT = Path(__file__).resolve().parents[2]
COMMIT, VERSION = "abc123", "v20251116-abc123"
BACKEND = "ethixai-backend"
REPOSITORY = f"ghcr.io/geoaziz/{BACKEND}"
TOKEN = SecretReference.given(SecretStr("token"))
DEADLINE_S = 20.0
"""How long a vendor may take on a machine that has much to do."""


@pytest.fixture(autouse=True)
def as_a_last_try() -> Iterator[None]:
    """Each check is asked as on its last try: what is away then cannot be told."""
    with disable_run_logger(), patch.dict(runtime.task_run.FIELDS, {"run_count": lambda: 99}):
        yield


@pytest.fixture
async def env(stand_ins: Any) -> Environment:
    """Production as its file describes it, with the vendors' stand-ins behind it."""
    written = await files.read(ROOT / "environments" / "production.toml", with_secrets=False)
    github = GitHub(repository="geoaziz/ethixai", token=TOKEN, api_url=f"{stand_ins.url}/github", timeout_s=DEADLINE_S)
    pager = PagerDuty(
        routing_key=SecretReference.given(SecretStr("0" * 32)),
        api_token=TOKEN,
        escalation_policy="PABC123",
        events_url=f"{stand_ins.url}/pagerduty",
        api_url=f"{stand_ins.url}/pagerduty/api",
        timeout_s=DEADLINE_S,
    )
    registry = Registry(base_url=f"{stand_ins.url}/registry", username="ci", token=TOKEN, timeout_s=DEADLINE_S)
    checks = dict.fromkeys((*written.required_checks, written.gates.scan_check), "success")
    stand_ins.vendors.github.checked(COMMIT, checks)
    return written.model_copy(
        update={"code_host": github, "tickets": github, "pagers": [pager], "registry": registry, "ui_url": "https://p"}
    )


@pytest.fixture
def order(stand_ins: Any) -> Order:
    """One service of the version, whose image CI has pushed."""
    digest = stand_ins.vendors.registry.publish(REPOSITORY, f"sha-{COMMIT}", {})
    mirrored = Image(repository=f"us-east1-docker.pkg.dev/x/{BACKEND}", digest=digest)
    return Order(version=Version.parse(VERSION), images={BACKEND: mirrored}, canary_percent=10)


async def asked(env: Environment, topic: Topic, order: Order) -> Item:
    """One check, asked once."""
    found: Item = await inspect.unwrap(check_item)(env, topic, order)
    return found


VENDORS: dict[Topic, tuple[str, str]] = {
    Topic.CI: ("github", "*"),
    Topic.SCAN: ("github", "*check-runs"),
    Topic.LOAD_TEST: ("github", "*/issues*"),
    Topic.NOTES: ("github", "*/releases*"),
    Topic.BUILD: ("registry", "*/manifests/*"),
    Topic.ON_CALL: ("pagerduty", "*/oncalls"),
}
"""Each check that asks a vendor: which one, and where."""


@pytest.mark.parametrize("topic", VENDORS)
async def test_each_check_passes_where_all_is_well(
    topic: Topic, env: Environment, order: Order, stand_ins: Any
) -> None:
    """With the fact behind it; a load test is acknowledged by a person."""
    stand_ins.vendors.github.release(VERSION, f"{VERSION}\n- Bug fixes\nBreaking changes: none", draft=True)
    found = await asked(env, topic, order)
    expected = Answer.ACKNOWLEDGED if topic is Topic.LOAD_TEST else Answer.PASS
    assert (found.answer, found.is_open) == (expected, False), str(found)


@pytest.mark.parametrize("topic", VENDORS)
async def test_an_answer_that_cannot_be_had_stops_a_release(
    topic: Topic, env: Environment, order: Order, stand_ins: Any
) -> None:
    """CANNOT TELL, with the vendor named in the fact; an override of this very item lets the release go on.

    Every other answer that is no yes: tests/hostile/test_hostile_gates.py.
    """
    vendor, path = VENDORS[topic]
    stand_ins.vendors.fault(vendor, status=503, count=None, path=path)
    found = await asked(env, topic, order)
    assert found.answer is Answer.CANNOT_TELL, str(found)
    assert {"github": "GitHub", "registry": "The registry", "pagerduty": "PagerDuty"}[vendor] in found.seen
    blocking = found.model_copy(update={"blocks": True})
    assert blocking.is_open
    override = Override(item=topic, by="Ada", reason="looked at by hand")
    overridden = await asked(env, topic, order.model_copy(update={"overrides": (override,)}))
    assert not overridden.is_open
    other = Override(item=Topic.SECRETS, by="Ada", reason="looked at by hand")
    assert (await asked(env, topic, order.model_copy(update={"overrides": (other,)}))).override is None


@pytest.mark.parametrize("topic", VENDORS)
async def test_a_vendor_that_is_busy_is_asked_again_when_it_says(
    topic: Topic, env: Environment, order: Order, stand_ins: Any
) -> None:
    """One 429 with Retry-After, within the call's deadline: the check passes as if it had not been."""
    stand_ins.vendors.github.release(VERSION, f"{VERSION}\n- Bug fixes\nBreaking changes: none")
    vendor, path = VENDORS[topic]
    stand_ins.vendors.fault(vendor, status=429, count=1, path=path)
    assert (await asked(env, topic, order)).is_met


def on_third_page(stand_ins: Any) -> None:
    """What each check looks for stands behind 230 other entries."""
    github = stand_ins.vendors.github
    names = {f"check-{number}": "success" for number in range(230)}
    github.checked(COMMIT, names | dict.fromkeys(("ci / test-backend", "ci / test-ai-core", "trivy"), "success"))
    github.unacknowledge()
    for number in range(230):
        github.acknowledge(f"Looks good ({number})")
    github.acknowledge(f"load test reviewed: {VERSION} https://grafana.example/1", author="grace")
    github.release(VERSION, f"{VERSION}\n- Bug fixes\nBreaking changes: none")
    for number in range(230):
        github.release(f"v20251117-{number:06x}", "Later")
    now_s = time.time()
    shifts = [(f"Person {number}", 2, now_s - 10, now_s + 10) for number in range(230)]
    stand_ins.vendors.pagerduty.on_call(*shifts, ("Grace", 1, None, None))


@pytest.mark.parametrize("topic", [Topic.SCAN, Topic.LOAD_TEST, Topic.NOTES, Topic.ON_CALL])
async def test_what_stands_on_the_third_page_is_found(
    topic: Topic, env: Environment, order: Order, stand_ins: Any
) -> None:
    """The test of CI has its own, in which the third page holds a failure."""
    on_third_page(stand_ins)
    found = await asked(env, topic, order)
    assert found.is_met, str(found)
    assert "Grace" in found.seen or topic is not Topic.ON_CALL


async def test_a_revoked_token_does_not_open_the_gate(env: Environment, order: Order) -> None:
    """GitHub answers 401 to every call."""
    wrong = env.code_host.model_copy(update={"token": SecretReference.given(SecretStr("wrong"))})  # type: ignore[union-attr]
    found = await asked(env.model_copy(update={"code_host": wrong}), Topic.CI, order)
    assert (found.answer, found.is_open) == (Answer.CANNOT_TELL, True)


Given = Callable[[Any, Environment], Environment | None]


def checks(**conclusions: str) -> Given:
    """CI's checks of the commit, by the end of their names; `_` stands for a dash."""
    named = {f"ci / {name.replace('_', '-')}": one for name, one in conclusions.items()}
    return lambda stand_ins, env: stand_ins.vendors.github.checked(COMMIT, named)


GREEN = {"test_backend": "success", "test_ai_core": "success", "test_frontend": "success"}


def with_status(**statuses: str) -> Given:
    """All checks have passed, and the commit has these statuses too. Every app counts, and so do statuses."""

    def given(stand_ins: Any, env: Environment) -> Environment:
        stand_ins.vendors.github.reported(COMMIT, statuses)
        every = env.code_host.model_copy(update={"checks_apps": ()})  # type: ignore[union-attr]
        return env.model_copy(update={"required_checks": (*env.required_checks, *statuses), "code_host": every})

    return given


def from_another_app(conclusion: str, **own: str) -> Given:
    """Another app, which may write checks, has made a run of the name ``ci / test-backend``; ``own`` are CI's."""

    def given(stand_ins: Any, env: Environment) -> None:
        checks(**own)(stand_ins, env)
        stand_ins.vendors.github.checked_by_another("helpful-bot", "ci / test-backend", conclusion)

    return given


def status_of_that_name(stand_ins: Any, env: Environment) -> None:
    """CI has not run, and a commit status has the name of its check."""
    checks(**{name: one for name, one in GREEN.items() if name != "test_backend"})(stand_ins, env)
    stand_ins.vendors.github.reported(COMMIT, {"ci / test-backend": "success"})


def many_checks(stand_ins: Any, env: Environment) -> None:
    """The one that failed is on the third page."""
    many = {f"check-{number}": "success" for number in range(230)}
    stand_ins.vendors.github.checked(
        COMMIT, many | dict.fromkeys(env.required_checks, "success") | {"ci / test-backend": "failure"}
    )


def without_checks(stand_ins: Any, env: Environment) -> Environment:
    """The environment's file names none."""
    return env.model_copy(update={"required_checks": ()})


def the_scan_alone(stand_ins: Any, env: Environment) -> Environment:
    """The scan has an item of its own, so nothing is left to ask of CI."""
    return env.model_copy(update={"required_checks": ("trivy", "trivy backend")})


def thousands_of_checks(stand_ins: Any, env: Environment) -> None:
    """More than are read; the one that failed may be among the rest."""
    many = {f"check-{number}": "success" for number in range(1000)}
    stand_ins.vendors.github.checked(COMMIT, dict.fromkeys(env.required_checks, "success") | many)


CI: dict[str, tuple[Given, Answer, str]] = {
    "all passed": (checks(**GREEN), Answer.PASS, "on main; ci / test-backend"),
    "neutral and skipped": (checks(**GREEN | {"test_backend": "neutral", "test_ai_core": "skipped"}), Answer.PASS, ""),
    "one failed": (checks(**GREEN | {"test_backend": "failure"}), Answer.FAIL, "ci / test-backend is failure"),
    "one is running": (checks(**GREEN | {"test_backend": ""}), Answer.FAIL, "ci / test-backend is pending"),
    "one was cancelled": (
        checks(**GREEN | {"test_backend": "cancelled"}),
        Answer.FAIL,
        "ci / test-backend is cancelled",
    ),
    "an empty list": (checks(), Answer.FAIL, "ci / test-backend has not run"),
    "many pages": (many_checks, Answer.FAIL, "ci / test-backend is failure"),
    "another app passes it": (
        from_another_app("success", test_ai_core="success", test_frontend="success"),
        Answer.FAIL,
        "ci / test-backend has not run",
    ),
    "another app outvotes it": (
        from_another_app("success", **GREEN | {"test_backend": "failure"}),
        Answer.FAIL,
        "ci / test-backend is failure",
    ),
    "another app fails it": (from_another_app("failure", **GREEN), Answer.PASS, "ci / test-backend"),
    "a status of that name": (status_of_that_name, Answer.FAIL, "ci / test-backend has not run"),
    "a status that passed": (with_status(coverage="success"), Answer.PASS, "coverage"),
    "a status that failed": (with_status(coverage="failure"), Answer.FAIL, "coverage is failure"),
    "a status in error": (with_status(coverage="error"), Answer.FAIL, "coverage is error"),
    "a status that is pending": (with_status(coverage="pending"), Answer.FAIL, "coverage is pending"),
    "not on main": (
        lambda stand_ins, env: stand_ins.vendors.github.leaves_main(COMMIT),
        Answer.FAIL,
        "the commit is not on main",
    ),
    "the scan alone": (the_scan_alone, Answer.CANNOT_TELL, "names the image scan alone"),
    "more than are read": (thousands_of_checks, Answer.CANNOT_TELL, "has more than 1000; not all of them were read"),
    "no required checks": (without_checks, Answer.CANNOT_TELL, "names no required_checks"),
}


@pytest.mark.parametrize(("given", "answer", "says"), CI.values(), ids=CI)
async def test_ci_is_counted_as_github_counts_it(
    given: Given, answer: Answer, says: str, env: Environment, order: Order, stand_ins: Any
) -> None:
    """Check runs and commit statuses, of all pages, on main; an empty list is no tick."""
    found = await asked(given(stand_ins, env) or env, Topic.CI, order)
    assert (found.answer, says in found.seen) == (answer, True), str(found)
    assert found.url.startswith("https://github.com/") or answer is not Answer.PASS


@pytest.mark.parametrize(
    ("revision", "answer", "says"),
    [
        (COMMIT, Answer.PASS, "built from abc123"),
        (COMMIT + "0" * 34, Answer.PASS, "built from abc123"),
        ("fed987" + "0" * 34, Answer.FAIL, f"{BACKEND} was built from fed987"),
        (None, Answer.CANNOT_TELL, "do not say from which commit"),
    ],
)
async def test_an_image_belongs_to_the_commit_that_its_label_names(
    revision: str | None, answer: Answer, says: str, env: Environment, order: Order, stand_ins: Any
) -> None:
    """`org.opencontainers.image.revision`, short or long; an image without it cannot be told."""
    digest = stand_ins.vendors.registry.built_from(REPOSITORY, f"sha-{COMMIT}", revision)
    image = order.images[BACKEND].model_copy(update={"digest": digest})
    found = await asked(env, Topic.BUILD, order.model_copy(update={"images": {BACKEND: image}}))
    assert (found.answer, says in found.seen) == (answer, True), str(found)


async def test_on_call_must_hold_for_the_whole_window(env: Environment, order: Order, stand_ins: Any) -> None:
    """Who goes off duty within two hours, without a person after them, is a gap that is named."""
    now_s = time.time()
    stand_ins.vendors.pagerduty.on_call(("Ada", 1, None, now_s + 3600))
    found = await asked(env, Topic.ON_CALL, order)
    assert (found.answer, "Ada, but no person is on call from" in found.seen) == (Answer.FAIL, True)
    stand_ins.vendors.pagerduty.on_call(("Ada", 1, None, now_s + 3600), ("Bob", 1, now_s + 3500, now_s + 9000))
    found = await asked(env, Topic.ON_CALL, order)
    assert (found.answer, "Ada, Bob" in found.seen) == (Answer.PASS, True)
    stand_ins.vendors.pagerduty.on_call()
    found = await asked(env, Topic.ON_CALL, order)
    assert (found.answer, "no person" in found.seen) == (Answer.FAIL, True)


async def test_who_is_called_for_security_alone_covers_no_release(
    env: Environment, order: Order, stand_ins: Any
) -> None:
    """Neither does their pager have to say who is on call: it needs no API token."""
    security = PagerDuty(name="security", routing_key=SecretReference.given(SecretStr("1" * 32)))
    routing = Routing(pagers={"security": (Call.SECURITY,)})
    both = env.model_copy(update={"pagers": [*env.pagers, security], "routing": routing})
    assert (await asked(both, Topic.ON_CALL, order)).answer is Answer.PASS
    for_all = env.model_copy(update={"pagers": [*env.pagers, security]})
    assert (await asked(for_all, Topic.ON_CALL, order)).answer is Answer.CANNOT_TELL
    covering = env.pagers[0].model_copy(update={"name": "security"})  # type: ignore[attr-defined]
    alone = env.model_copy(update={"pagers": [covering], "routing": routing})
    assert (await asked(alone, Topic.ON_CALL, order)).answer is Answer.CANNOT_TELL


async def test_production_passes_no_staging_only_in_so_many_words(env: Environment, order: Order) -> None:
    """A line that is missing in the file does not open the item."""
    alone = env.model_copy(update={"staging": ""})
    found = await asked(alone, Topic.STAGING, order)
    assert (found.answer, "names no staging environment" in found.seen) == (Answer.CANNOT_TELL, True)
    said = alone.gates.model_copy(update={"not_needed": {Topic.STAGING: "there is no second project"}})
    found = await asked(alone.model_copy(update={"gates": said}), Topic.STAGING, order)
    assert (found.answer, "there is no second project" in found.seen) == (Answer.ACKNOWLEDGED, True)


async def test_a_load_test_that_no_person_acknowledged_fails(env: Environment, order: Order, stand_ins: Any) -> None:
    """It says where it would be kept; an edited comment, and one by a stranger, are none."""
    github = stand_ins.vendors.github
    github.unacknowledge()
    found = await asked(env, Topic.LOAD_TEST, order)
    assert (found.answer, "an issue labelled load-test" in found.seen) == (Answer.FAIL, True)
    text = f"load test reviewed: {VERSION} https://grafana.example/1"
    github.acknowledge(text, association="NONE")
    github.acknowledge(text, at="2025-11-16T10:00:00Z", edited="2025-11-16T11:00:00Z")
    assert (await asked(env, Topic.LOAD_TEST, order)).answer is Answer.FAIL
    github.acknowledge(text, author="grace")
    found = await asked(env, Topic.LOAD_TEST, order)
    assert (found.answer, "acknowledged by grace" in found.seen) == (Answer.ACKNOWLEDGED, True)
    assert found.url.endswith("#issuecomment-90003")


async def test_notes_on_the_code_host_must_say_what_breaks(env: Environment, order: Order, stand_ins: Any) -> None:
    """A draft counts."""
    stand_ins.vendors.github.release(VERSION, f"{VERSION}\n- Bug fixes", draft=True)
    found = await asked(env, Topic.NOTES, order)
    assert (found.answer, "breaking changes" in found.seen) == (Answer.FAIL, True)
    stand_ins.vendors.github.release(VERSION, f"{VERSION}\n- Bug fixes\nBreaking changes: none")
    assert (await asked(env, Topic.NOTES, order)).answer is Answer.PASS


@pytest.fixture
async def with_secrets(env: Environment, world: RemoteWorld, cloud_run: Any) -> Environment:
    """The environment with a Secret Manager and a Cloud Run that answer over gRPC and HTTP."""
    for name in ("mongodb-uri", "jwt-signing-key"):
        await world.put_secret("ethixai-production", name, "x")
    manager = SecretManager(
        project="ethixai-production",
        api_endpoint=world.grpc_endpoint,
        names=("mongodb-uri", "jwt-signing-key"),
        timeout_s=2,
    )
    nothing = {"release_tracker": None, "channels": [], "mongodb": None, "atlas": None}
    return env.model_copy(update={"secret_manager": manager, "cloud_run": cloud_run, **nothing})


async def test_secrets_that_are_there_and_last_pass(with_secrets: Environment, order: Order) -> None:
    """Those of the file, those of the serving revision, and the worker's own tokens."""
    found = await asked(with_secrets, Topic.SECRETS, order)
    assert found.answer is Answer.PASS, str(found)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"state": "DISABLED"}, "jwt-signing-key has no enabled version"),
        ({"state": "DESTROYED"}, "jwt-signing-key has no enabled version"),
        ({"expires_at": time.time() + 3600}, "jwt-signing-key expires on"),
    ],
)
async def test_a_secret_that_cannot_be_relied_on_fails(
    options: dict[str, Any], says: str, with_secrets: Environment, order: Order, world: RemoteWorld
) -> None:
    """Disabled, destroyed, or near its expiry."""
    await world.put_secret("ethixai-production", "jwt-signing-key", "y", **options)
    found = await asked(with_secrets, Topic.SECRETS, order)
    assert (found.answer, says in found.seen) == (Answer.FAIL, True), str(found)


async def test_a_token_of_the_worker_that_cannot_be_read_fails(
    with_secrets: Environment, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the place in the file, and nothing of the secret."""
    monkeypatch.delenv("GITHUB_TOKEN_OF_THIS_TEST", raising=False)
    broken = with_secrets.code_host.model_copy(  # type: ignore[union-attr]
        update={"token": SecretReference("env:GITHUB_TOKEN_OF_THIS_TEST")}
    )
    found = await asked(with_secrets.model_copy(update={"code_host": broken}), Topic.SECRETS, order)
    assert (found.answer, "the worker's code_host.token" in found.seen) == (Answer.FAIL, True), str(found)


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
async def test_a_secret_manager_that_does_not_answer_cannot_tell(
    code: str, with_secrets: Environment, order: Order, world: RemoteWorld
) -> None:
    """Over gRPC."""
    await world.fault("SecretManagerService.GetSecret", code, count=100)
    try:
        found = await asked(with_secrets, Topic.SECRETS, order)
    finally:
        await world.clear_faults()
    assert (found.answer, found.is_open) == (Answer.CANNOT_TELL, True), str(found)


async def test_the_way_back_is_accepted_by_policy_or_read_by_a_person(with_secrets: Environment, order: Order) -> None:
    """The plan names the revision; where the policy asks for a person, none means no."""
    found = await asked(with_secrets, Topic.ROLLBACK_PLAN, order)
    assert (found.answer, "accepted by policy" in found.seen) == (Answer.ACKNOWLEDGED, True)
    gates = with_secrets.gates.model_copy(update={"rollback_plan": "person"})
    strict = with_secrets.model_copy(update={"gates": gates})
    assert (await asked(strict, Topic.ROLLBACK_PLAN, order)).answer is Answer.FAIL
    read = order.model_copy(update={"plan_reviewed_by": "Ada"})
    found = await asked(strict, Topic.ROLLBACK_PLAN, read)
    assert (found.answer, "reviewed by Ada" in found.seen) == (Answer.ACKNOWLEDGED, True)


FLIGHT = {
    "github": "GitHub, checks and branches",
    "registry": f"registry, {REPOSITORY}",
    "pagerduty": "who is on call (pagerduty)",
    "slack": "channel slack",
    "sentry": "release tracker",
}
"""Each vendor, and one of its dependencies that the flight check asks."""


@pytest.mark.parametrize("vendor", FLIGHT)
async def test_the_flight_check_finds_a_vendor_that_refuses_and_says_nothing_there(
    vendor: str, env: Environment, stand_ins: Any
) -> None:
    """A day and an hour before the release. Nothing is posted, paged, opened or noted."""
    slack = Slack(token=TOKEN, channels=dict.fromkeys(Audience, "C0RELEASES"), api_url=f"{stand_ins.url}/slack/api")
    sentry = Sentry(organization="ethixai", projects=["backend"], token=TOKEN, api_url=f"{stand_ins.url}/sentry")
    env = env.model_copy(update={"channels": [slack], "release_tracker": sentry})
    dependency = FLIGHT[vendor]
    assert await inspect.unwrap(check_dependency)(env, dependency) is None
    stand_ins.vendors.fault(vendor, status=403, count=None)
    problem = await inspect.unwrap(check_dependency)(env, dependency)
    assert problem is not None
    assert problem.startswith(f"{dependency}: ")
    assert stand_ins.vendors.calls == []
