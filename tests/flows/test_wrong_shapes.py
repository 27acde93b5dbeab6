"""A script that starts a deployment past its form: every field of every request, of another shape than it has.

Generated from prefect.yaml and the flows: a new deployment, and a new field of a request, join by themselves.
"""

import importlib
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Run, TestEnvironment, play
from pydantic import BaseModel

from playbook.checklist.items import Topic
from playbook.wrong_request import NEXT
from tasks.asked import AskedFlow, Unread

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINTS = sorted({one["entrypoint"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]})
NONSENSE: Any = {"quux": [{"a": 1}]}
"""No field takes this."""
WORDS_OF_PYDANTIC = ("pydantic", "validation error", "Input should", "type=", "function-", "input_value")
ASKED_BY_PEOPLE = ("hotfix", "migration_rollback", "mitigate", "release", "rollback")


def flow_of(entrypoint: str) -> AskedFlow:
    """The flow that a deployment runs."""
    module, name = entrypoint.rsplit(".", 1)
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, AskedFlow), f"{entrypoint} answers a wrong request with pydantic's text; use asked_flow"
    return found


def models_of(annotation: Any, place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Each model within a parameter, with the place of an entry in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield place, annotation
        for name, field in annotation.model_fields.items():
            inner = typing.get_type_hints(annotation).get(name, field.annotation)
            yield from models_of(inner, f"{place}.{name}")
        return
    is_list = typing.get_origin(annotation) in (list, tuple)
    for one in typing.get_args(annotation):
        yield from models_of(one, f"{place}[0]" if is_list else place)


def put(value: Any, place: str) -> Any:
    """``value`` at ``place``, such as ``.overrides[0].item``, and nothing beside it."""
    if not place:
        return value
    if place.startswith("[0]"):
        return [put(value, place[3:])]
    name, _, _ = place[1:].replace("[", ".").partition(".")
    return {name: put(value, place[1 + len(name) :])}


def cases() -> Iterator[Any]:
    """Every parameter and every field of every model in it, with nonsense; an unknown one beside each; and none."""
    for entrypoint in ENTRYPOINTS:
        flow = flow_of(entrypoint)
        signature = inspect.signature(flow.fn, eval_str=True)
        name = entrypoint.rsplit(".", 1)[1]
        yield pytest.param(flow, {"enviroment": "production"}, "enviroment", id=f"{name}: an unknown parameter")
        for parameter, declared in signature.parameters.items():
            yield pytest.param(flow, {parameter: NONSENSE}, parameter, id=f"{name}: {parameter}")
            if declared.default is declared.empty:
                yield pytest.param(flow, {}, parameter, id=f"{name}: no {parameter}")
            if name not in ASKED_BY_PEOPLE and parameter != "stand_down":
                continue  # what only this project sends: its outer shape is enough
            for place, model in models_of(declared.annotation):
                yield pytest.param(
                    flow,
                    {parameter: put({"quux": 1}, place)},
                    f"{parameter}{place}.quux",
                    id=f"{name}: {parameter}{place}.quux",
                )
                for field in model.model_fields:
                    at = f"{place}.{field}"
                    yield pytest.param(flow, {parameter: put(NONSENSE, at)}, f"{parameter}{at}", id=f"{name}: {at}")


@pytest.mark.parametrize(("flow", "parameters", "named"), list(cases()))
def test_a_request_of_a_wrong_shape_is_answered_in_plain_words(
    flow: AskedFlow, parameters: dict[str, Any], named: str
) -> None:
    """The field, and what it takes or which fields there are; nothing of the library that found it."""
    read = flow.validate_parameters(parameters)
    unread = next(one for one in read.values() if isinstance(one, Unread))
    lines = [line for line in unread.problems if line.startswith(named)]
    assert lines, unread.problems
    assert any(words in lines[0] for words in ("it takes", "the fields are", "is not taken: ")), lines
    said = " ".join(unread.problems)
    assert not [words for words in WORDS_OF_PYDANTIC if words in said], said
    assert flow.flow_run_name
    assert str(flow.flow_run_name).format(**read)


EXAMPLES: dict[str, tuple[str, dict[str, Any], str]] = {
    "an override of an unknown item": (
        "release",
        {"request": {"overrides": [{"item": "cii", "by": "Ada", "reason": "seen"}]}},
        f"request.overrides[0].item: 'cii' is not taken; it takes one of: {', '.join(Topic)}",
    ),
    "a field that is misspelt": (
        "release",
        {"request": {"canary_percnt": 5}},
        "request.canary_percnt: there is no such field; the fields are version, changes,",
    ),
    "which field is meant": ("release", {"request": {"canary_percnt": 5}}, "Is it canary_percent?"),
    "a rollback for an unknown symptom": (
        "rollback",
        {"request": {"symptom": "slow", "reason": "x", "requested_by": "Ada"}},
        "request.symptom: 'slow' is not taken; it takes one of: ",
    ),
    "a rollback without a symptom": ("rollback", {"request": {}}, "request.symptom: it is missing; it takes one of: "),
    "too many instances": (
        "mitigate",
        {"request": {"service": "ethixai-backend", "measure": "scale", "instances": 5000}},
        "request.instances: 5000 is not taken; it takes a whole number, at most 1000",
    ),
    "a text for a share": (
        "release",
        {"request": {"canary_percent": "many"}},
        "request.canary_percent: 'many' is not taken; it takes a whole number.",
    ),
    "a text for a truth": (
        "hotfix",
        {"request": {"plan_only": "maybe"}},
        "request.plan_only: 'maybe' is not taken; it takes true or false",
    ),
    "a request that is a text": ("hotfix", {"request": "v1"}, "request: 'v1' is not taken; it takes an object with"),
    "an environment that is a number": (
        "release",
        {"request": {}, "environment": 5},
        "environment: 5 is not taken",
    ),
}


@pytest.mark.parametrize(("name", "parameters", "says"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_run_with_such_a_request_is_refused_before_it_begins(
    name: str, parameters: dict[str, Any], says: str
) -> None:
    """It ends Refused with that sentence and what to do, people who wait are told, and no service is written."""
    flow = flow_of(f"flows.{name}.{name}")

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        run = await test_env.follow(flow, **flow.validate_parameters(parameters))
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, says in run.message, NEXT in run.message) == ("Refused", True, True), run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert [says in one.text for one in test_env.fixture.slack.said] == [True]
    assert not test_env.fixture.pagerduty.incidents


def test_a_request_that_cannot_be_read_names_its_environment() -> None:
    """The run is called after it; what cannot be read is a question mark."""
    flow = flow_of("flows.release.release")
    read = flow.validate_parameters({"request": "v1", "environment": "staging"})
    assert (flow.flow_run_name or "").format(**read) == "release ? to staging"
    assert flow.validate_parameters({"request": "v1"})["environment"] == "production"
    assert str(flow.validate_parameters({"request": {}, "environment": 5})["environment"]) == "?"


def test_a_request_of_the_right_shape_is_read_as_before() -> None:
    """Also one that a form sends with null for an empty box."""
    read = flow_of("flows.release.release").validate_parameters({"request": {"version": None}})
    assert (read["request"].subject, read["environment"]) == ("the newest version in staging", "production")
