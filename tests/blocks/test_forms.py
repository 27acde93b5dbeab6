"""The forms of prefect.yaml, checked as Prefect checks them: what each asks, in which order, and what it refuses."""

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import build_error_obj, validate

from blocks.forms import INTERNAL
from playbook.form import deployed

SERVICES = ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")
DEPLOYMENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "prefect.yaml").read_text())["deployments"]
BY_NAME = {f"{one['entrypoint'].rsplit('.', 1)[-1].replace('_', '-')}/{one['name']}": one for one in DEPLOYMENTS}
FOR_PEOPLE = [name for name, one in BY_NAME.items() if INTERNAL not in one["tags"]]


@functools.cache
def form(name: str) -> dict[str, Any]:
    """The schema of a deployment once `python -m blocks deploy` has finished it."""
    one = BY_NAME[name]
    module, _, flow = one["entrypoint"].rpartition(".")
    schema = parameter_schema(getattr(importlib.import_module(module), flow)).model_dump_for_openapi()
    once = deployed(schema, one["name"], SERVICES, is_internal=INTERNAL in one["tags"])
    assert deployed(once, one["name"], SERVICES, is_internal=INTERNAL in one["tags"]) == once
    return once


def request(name: str) -> dict[str, Any]:
    """The definition of the form's request."""
    found = form(name)
    return dict(found["definitions"][found["properties"]["request"]["$ref"].rsplit("/", 1)[-1]])


def fields(name: str) -> list[str]:
    """The titles of the request's fields, as the form shows them."""
    properties = request(name)["properties"].values()
    assert sorted(one["position"] for one in properties) == list(range(len(properties)))
    return [one["title"] for one in sorted(properties, key=lambda one: one["position"])]


def refusals(name: str, **values: Any) -> dict[str, list[Any]]:
    """What the form shows beside each field of the request."""
    parameters = {"request": values, "environment": BY_NAME[name]["name"]}
    found = build_error_obj(validate(parameters, form(name)))["errors"]
    inner = [one for error in found if error["property"] == "request" for one in error["errors"]]
    return {one["property"]: one["errors"] for one in inner}


def all_properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema and of its definitions."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for one in schema.get("definitions", {}).values():
            yield from all_properties(one)


ROLLBACK = {"symptom": "Something else", "reason": "sales have stopped", "requested_by": "Aziz"}
HOTFIX = {
    "version": "v20251116-hotfix1-abc123",
    "reason": "closes a hole",
    "incident": "CVE-2025-12345",
    "approver": "Sam",
    "requested_by": "Aziz",
}
MITIGATE = {"service": "ethixai-backend", "measure": "scale", "instances": 4, "reason": "slow", "requested_by": "Aziz"}
MIGRATION = {"reason": "names are cut off", "requested_by": "Aziz"}
RIGHT = {
    "release/production": {"version": "v20251116-abc123", "services": ["ethixai-backend"], "canary_percent": 20},
    "rollback/production": ROLLBACK | {"to": "ethixai-backend-00041-xyz, ethixai-ai-core-00007-abc"},
    "hotfix/production": HOTFIX,
    "mitigate/production": MITIGATE,
    "migration-rollback/production": MIGRATION,
    "migration-rollback/staging": MIGRATION,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_field_has_a_title_and_says_what_it_is(name: str) -> None:
    """No key of our code stands in a form, in any depth."""
    for key, one in all_properties(form(name)):
        assert one.get("title", key).split("_") == [one.get("title", key)], key
        assert one.get("description") or "$ref" in one or one["title"] in ("Method", "Body"), key
        assert {"type": "null"} not in one.get("anyOf", ()) or key == "stand_down", key


@pytest.mark.parametrize("name", BY_NAME)
def test_a_deployment_offers_its_own_environment_only(name: str) -> None:
    """One choice, filled in, and not optional."""
    environment = form(name)["properties"]["environment"]
    assert environment["enum"] == [environment["default"]] == [BY_NAME[name]["name"]]
    assert "environment" in form(name)["required"]


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in FOR_PEOPLE and "recovery" not in name])
def test_an_internal_deployment_asks_nothing_and_takes_what_the_project_sends(name: str) -> None:
    """Its description says who starts it."""
    assert list(form(name)["properties"]) == ["environment"]
    assert BY_NAME[name]["description"].startswith("Internal: started by ")
    assert not validate({"environment": BY_NAME[name]["name"], "lease": {"anything": 1}, "to": "x"}, form(name))


def test_a_person_may_still_stand_a_release_down() -> None:
    """Recovery starts by itself, and its form is for people all the same."""
    assert "stand_down" in form("recovery/production")["properties"]


@pytest.mark.parametrize("name", RIGHT)
def test_a_form_that_is_filled_in_is_taken(name: str) -> None:
    """Each with the choices that the environment gives."""
    assert refusals(name, **RIGHT[name]) == {}


@pytest.mark.parametrize("name", RIGHT)
def test_the_examples_of_a_form_are_taken_by_it(name: str) -> None:
    """What a person copies is right."""
    examples = {key: one["examples"][0] for key, one in request(name)["properties"].items() if "examples" in one}
    assert refusals(name, **RIGHT[name] | examples) == {}


def test_the_fields_stand_in_the_order_in_which_people_think() -> None:
    """What is asked first stands first, whatever order the database keeps keys in."""
    release = ["Version", "Changes", "Requested by", "Services", "Canary percent"]
    assert fields("release/production")[:5] == release
    assert fields("rollback/production")[:3] == ["Symptom", "Reason", "Requested by"]
    assert fields("hotfix/production")[:4] == ["Version", "Reason", "CVE or incident", "Approver"]
    assert fields("mitigate/production")[:3] == ["Service", "Measure", "Instances"]
    assert fields("migration-rollback/production") == ["Migration", "Reason", "Requested by", "Code"]


REQUIRED = {
    "release/production": [],
    "rollback/production": ["symptom", "reason", "requested_by"],
    "hotfix/production": ["version", "reason", "incident", "approver"],
    "mitigate/production": ["service", "measure", "reason", "requested_by"],
    "migration-rollback/production": ["reason", "requested_by"],
}


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_form_names_each_field_that_it_needs(name: str) -> None:
    """None of them is called optional, and none of the others is required."""
    assert sorted(refusals(name)) == sorted(REQUIRED[name])
    assert all(errors == [f"'{field}' is a required property"] for field, errors in refusals(name).items())


@pytest.mark.parametrize("blank", ["", " ", " \n\t ", "\u2060", "\u200b \u00ad", "-", "…", "🙂"])
def test_spaces_and_signs_fill_no_field_in(blank: str) -> None:
    """The form says that a word is needed."""
    for name, needed in REQUIRED.items():
        texts = [key for key in needed if request(name)["properties"][key].get("type") == "string"]
        texts = [key for key in texts if key not in ("service", "version")]
        found = refusals(name, **RIGHT[name] | dict.fromkeys(texts, blank))
        most = {key: 200 if key in ("requested_by", "approver") else 500 for key in texts}
        assert found == {key: [f"'at least one word, at most {most[key]} characters' was expected"] for key in texts}


LONG = [
    ("release/production", "changes", "x" * 2001, "'at most 2000 characters' was expected"),
    ("release/production", "plan_reviewed_by", "x" * 201, "'at most 200 characters' was expected"),
    ("rollback/production", "reason", "x" * 501, "'at least one word, at most 500 characters' was expected"),
    ("mitigate/production", "requested_by", "x" * 201, "'at least one word, at most 200 characters' was expected"),
    ("hotfix/production", "overrides", [{"item": "ci", "by": "Ada", "reason": "x"}] * 21, "'at most 20 entries'"),
]


@pytest.mark.parametrize(("name", "field", "value", "says"), LONG)
def test_what_is_too_long_is_refused_in_the_form_in_words(name: str, field: str, value: Any, says: str) -> None:
    """With the limit, and without the whole text."""
    assert says in str(refusals(name, **RIGHT[name] | {field: value})[field])


def test_an_override_without_who_or_why_is_refused_in_the_form() -> None:
    """As a request from a script is, in words."""
    for left_out in ("by", "reason"):
        override = {"item": "ci", "by": "Ada", "reason": "seen by hand"} | {left_out: "\u2060"}
        found = str(refusals("release/production", overrides=[override])["overrides"])
        assert "at least one word" in found


RELEASE_FORM = "'vYYYYMMDD-<commit>, for example v20251116-abc123' was expected"
HOTFIX_FORM = "'vYYYYMMDD-hotfixN-<commit>, for example v20251116-hotfix1-abc123' was expected"
TO_FORM = "'a release such as v20251115-abc123, or revisions separated by commas' was expected"
KNOWN = "['ethixai-ai-core', 'ethixai-backend', 'ethixai-frontend']"
EMPTY = [("release/production", "canary_percent"), ("mitigate/production", "instances")]


@pytest.mark.parametrize(("name", "field"), EMPTY)
def test_a_number_that_may_stay_empty_may_stay_empty(name: str, field: str) -> None:
    """The UI sends null for an empty box of numbers."""
    assert refusals(name, **RIGHT[name] | {field: None}) == {}


WRONG: list[tuple[str, str, Any, str]] = [
    ("release/production", "canary_percent", 0, "0 is less than the minimum of 1"),
    ("release/production", "canary_percent", 100, "100 is greater than the maximum of 99"),
    ("release/production", "canary_percent", 101, "101 is greater than the maximum of 99"),
    ("release/production", "canary_percent", 5.5, "5.5 is not valid under any of the given schemas"),
    ("release/production", "version", "1.2.3", RELEASE_FORM),
    ("release/production", "version", "v20251116-abc123 and more", RELEASE_FORM),
    ("hotfix/production", "version", "v20251116-abc123", HOTFIX_FORM),
    ("hotfix/production", "version", "", HOTFIX_FORM),
    ("rollback/production", "to", "what we had; yesterday", TO_FORM),
    ("mitigate/production", "service", "ethixai-bakend", f"'ethixai-bakend' is not one of {KNOWN}"),
    ("mitigate/production", "instances", -1, "-1 is less than the minimum of 0"),
    ("mitigate/production", "instances", 1001, "1001 is greater than the maximum of 1000"),
    ("mitigate/production", "measure", "reboot", "'reboot' is not one of ['scale', 'read-only', 'restore']"),
]


@pytest.mark.parametrize(("name", "field", "value", "says"), WRONG)
def test_what_is_wrong_is_refused_in_the_form_in_words(name: str, field: str, value: Any, says: str) -> None:
    """Beside its field, and beside no other."""
    assert refusals(name, **RIGHT[name] | {field: value}) == {field: [says]}


def test_a_service_that_does_not_exist_cannot_be_chosen() -> None:
    """In a list, the form says which entry it is."""
    (error,) = refusals("release/production", services=["ethixai-backend", "ethixai-bakend"])["services"]
    assert error == {"index": 1, "errors": [f"'ethixai-bakend' is not one of {KNOWN}"]}
    exploit = {"request": "env:EXPLOIT_LOGIN", "service": "ethixai-bakend"}
    assert "exploit" in refusals("hotfix/production", **HOTFIX | {"exploit": [exploit]})


def test_a_symptom_need_not_be_in_the_matrix() -> None:
    """`Something else` is the last choice."""
    symptom = form("rollback/production")["definitions"]["Symptom"]
    assert symptom["enum"][-1] == "Something else"
    assert len(symptom["enum"]) == 7


def test_a_script_may_leave_out_what_only_the_form_requires() -> None:
    """The model has a default for it, and the run answers with every field that is missing."""
    migration = importlib.import_module("playbook.migration.plan").MigrationRequest()
    assert [problem.split(":")[0] for problem in migration.problems()] == ["reason", "requested_by"]


def test_recovery_continues_a_migration_rollback_and_begins_none() -> None:
    """Its field is no part of the form, and the form lets it pass."""
    continued = MIGRATION | {"continues": "v20251116-abc123-1f2e3d"}
    assert "continues" not in request("migration-rollback/production")["properties"]
    assert refusals("migration-rollback/production", **continued) == {}
    problems = importlib.import_module("playbook.migration.plan").MigrationRequest(**continued).problems()
    assert len(problems) == 2
