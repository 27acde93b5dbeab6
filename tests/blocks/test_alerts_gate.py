"""The check of alerts: a name that no rule has, a rule that cannot be evaluated, and a source that lists no rules."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest
from prefect import runtime
from prefect.logging import disable_run_logger
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks import Prometheus, files
from blocks.environment import Environment
from playbook.checklist.checks import AlertRule, alert_problem
from playbook.checklist.items import Answer, Item, Topic
from playbook.errors import NoData, Refused
from playbook.release.plan import Order
from playbook.release.version import Version
from rehearsal.world.prometheus import Prometheus as Server
from rehearsal.world.serving import serve
from tasks.checklist import check_item
from tasks.flight import dependencies

ROOT = Path(__file__).resolve().parents[2]
ORDER = Order(version=Version.parse("v20251116-abc123"), images={}, canary_percent=10)
BROKEN = 'label_replace(vector(1), "a", "$1", "b", "(")'
ALERTS = "Prometheus, the alerts that stop a release"


@pytest.fixture(scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """The real Prometheus, once it has evaluated three rules: one fires, one does not, one cannot be evaluated."""
    server = Server(tmp_path_factory.mktemp("prometheus"))
    server.alerts = {"ErrorBudgetBurn": "vector(1) > 2", "DiskFull": "vector(1) > 0", "Broken": BROKEN}
    await server.start()
    try:
        block = Prometheus(url=server.url)
        for _ in range(300):
            if all(rule.health != "unknown" for rule in await block.alert_rules()):
                break
            await asyncio.sleep(0.1)
        yield block
    finally:
        await server.stop()


@pytest.fixture(scope="module")
async def written() -> Environment:
    """Production as its file describes it."""
    return await files.read(ROOT / "environments" / "production.toml", with_secrets=False)


def naming(written: Environment, prometheus: Prometheus, *alerts: str, **gates: object) -> Environment:
    """Production, where these alerts stop a release."""
    changed = written.gates.model_copy(update={"alerts": alerts, **gates})
    return written.model_copy(update={"prometheus": prometheus, "gates": changed})


async def asked(env: Environment) -> Item:
    """The check, asked once as on its last try."""
    last = patch.dict(runtime.task_run.FIELDS, {"run_count": lambda: 99})
    with disable_run_logger(), last:
        found: Item = await inspect.unwrap(check_item)(env, Topic.ALERTS, ORDER)
    return found


CASES: dict[str, tuple[tuple[str, ...], Answer, str]] = {
    "it does not fire": (("ErrorBudgetBurn",), Answer.PASS, "ErrorBudgetBurn: not firing"),
    "it fires": (("ErrorBudgetBurn", "DiskFull"), Answer.FAIL, "firing: DiskFull"),
    "its name is misspelt": (("ErrorBudgetburn",), Answer.CANNOT_TELL, "no alerting rule ErrorBudgetburn; is it Error"),
    "no rule has a name like it": (("Quux",), Answer.CANNOT_TELL, "no alerting rule Quux. Correct gates.alerts"),
    "one of two is misspelt": (("ErrorBudgetBurn", "DiskFul"), Answer.CANNOT_TELL, "DiskFul; is it DiskFull?"),
    "one fires and one is misspelt": (("DiskFull", "Errors"), Answer.FAIL, "firing: DiskFull"),
    "its rule cannot be evaluated": (("Broken",), Answer.CANNOT_TELL, "the rule of Broken cannot be evaluated (inv"),
}


@pytest.mark.parametrize(("alerts", "answer", "says"), CASES.values(), ids=CASES)
async def test_only_an_alert_that_a_rule_can_fire_counts_as_not_firing(
    written: Environment, real: Prometheus, alerts: tuple[str, ...], answer: Answer, says: str
) -> None:
    """Asked of the real Prometheus."""
    item = await asked(naming(written, real, *alerts))
    assert (item.answer, says in item.seen) == (answer, True), str(item)


async def test_the_flight_check_finds_a_misspelt_alert_a_day_ahead(written: Environment, real: Prometheus) -> None:
    """A name that is right passes, and without a name nothing is asked."""
    await dependencies(naming(written, real, "DiskFull"))[ALERTS]()
    with pytest.raises(Refused, match="no alerting rule DiskFul; is it DiskFull"):
        await dependencies(naming(written, real, "DiskFul"))[ALERTS]()
    assert ALERTS not in dependencies(naming(written, real))
    assert ALERTS not in dependencies(naming(written, real, "DiskFul", alert_rules="unlisted"))


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_source_that_lists_no_rules_cannot_tell_unless_the_file_says_so(
    written: Environment, status: int
) -> None:
    """Cloud Monitoring has no list of rules: the sentence names the setting, and with it the names are believed."""

    async def query(request: Request) -> Response:
        vector = {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "0"]}]}
        return JSONResponse({"status": "success", "data": vector})

    async def rules(request: Request) -> Response:
        return Response("not here", status)

    app = Starlette(routes=[Route("/api/v1/query", query), Route("/api/v1/rules", rules)])
    async with serve(app) as server:
        block = Prometheus(url=server.url)
        with pytest.raises(NoData):
            await block.alert_rules()
        item = await asked(naming(written, block, "ErrorBudgetBurn"))
        assert (item.answer, item.is_open) == (Answer.CANNOT_TELL, True)
        assert 'set gates.alert_rules to "unlisted"' in item.seen
        item = await asked(naming(written, block, "ErrorBudgetBurn", alert_rules="unlisted"))
        assert (item.answer, "whether a rule has that name was not asked" in item.seen) == (Answer.PASS, True)


def test_a_rule_that_was_never_evaluated_says_nothing() -> None:
    """Prometheus has just started. A source that does not say how a rule is (Thanos, Mimir) is believed."""
    assert "has not been evaluated yet" in alert_problem("A", [AlertRule(name="A", health="unknown")])
    assert alert_problem("A", [AlertRule(name="A")]) == ""
