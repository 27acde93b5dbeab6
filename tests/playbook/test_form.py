"""The forms: what each field accepts, what is said of a wrong value, and what a deployment shows of them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, ValidationError, WithJsonSchema

from playbook.base import Frozen
from playbook.form import INTERNAL, SERVICES, AtMost, Form, Line, deployed, field, must_match, sentence, too_many
from playbook.text import Said


class Part(Frozen):
    count: int = 1


class Ask(Form):
    """One field of each kind."""

    earlier_names: ClassVar[Mapping[str, str]] = {"why": "reason"}

    reason: Line = sentence("Why.", "The queue is growing")
    note: Line = Field("", title="A note")
    code: Annotated[Said, AtMost(5)] = Field("", json_schema_extra=field(**must_match("[ab]*", "the letters a and b")))
    entries: Annotated[tuple[str, ...], AtMost(2)] = ()
    instances: int | None = None
    percent: Annotated[int | None, WithJsonSchema({"type": "integer", "maximum": 99})] = None
    count: int | str | None = None
    services: list[str] = Field(default_factory=list, json_schema_extra=field(choices=SERVICES))
    service: str = Field("", json_schema_extra=field(choices=SERVICES, example="backend"))
    part: Part | None = None


class Short(Form):
    """A form with a field that only this project fills in."""

    number: int
    note: str = ""
    secret: int = Field(0, json_schema_extra={INTERNAL: True})


class Strict(Form):
    """A form as most are."""

    note: str = ""


def said(value: dict[str, Any]) -> list[str]:
    """What the form says of ``value``."""
    return [error.message for error in Draft202012Validator(Ask.model_json_schema()).iter_errors(value)]


REFUSED = {
    "a required field is missing": ({}, "'reason' is a required property"),
    "a required text is empty": ({"reason": ""}, "'at least one word, at most 500 characters' was expected"),
    "a required text has signs alone": ({"reason": " \n-"}, "'at least one word, at most 500 characters' was expected"),
    "a required text is too long": ({"reason": "x" * 501}, "'at least one word, at most 500 characters' was expected"),
    "an optional text is too long": ({"reason": "x", "note": "x" * 501}, "'at most 500 characters' was expected"),
    "a text of another form": ({"reason": "x", "code": "xyz"}, "'the letters a and b' was expected"),
    "too many entries": ({"reason": "x", "entries": ["a", "b", "c"]}, "'at most 2 entries' was expected"),
    "null for an empty box": ({"reason": "x", "instances": None}, "None is not of type 'integer'"),
    "more than the largest": ({"reason": "x", "percent": 100}, "100 is greater than the maximum of 99"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_a_form_refuses_in_words(value: dict[str, Any], message: str) -> None:
    """A person reads what to write, and no expression."""
    assert said(value) == [message]


ACCEPTED: dict[str, dict[str, Any]] = {
    "only what is required": {"reason": "x"},
    "lines and signs around a word": {"reason": "\n. x\n"},
    "an optional text that is empty": {"reason": "x", "note": ""},
    "the longest text": {"reason": "x" * 500, "note": "-" * 500},
    "a text of its own form, whose length the model checks": {"reason": "x", "code": "ab" * 3},
    "as many entries as there may be": {"reason": "x", "entries": ["a", "b"]},
    "numbers, text where both may be, and a whole part": {"reason": "x", "instances": 3, "count": "3", "part": {}},
    "no part at all": {"reason": "x", "part": None},
    "a name that scripts use": {"reason": "x", "why": "y"},
}


@pytest.mark.parametrize("value", ACCEPTED.values(), ids=ACCEPTED)
def test_a_form_takes_what_is_right(value: dict[str, Any]) -> None:
    """Also at the limit."""
    assert said(value) == []


def test_fields_stand_in_the_order_of_the_class_with_title_and_example() -> None:
    """The UI sorts by position, and shows an example in an empty box."""

    class Told(Form):
        reason: Line = sentence("Why.", "The queue is growing")
        service: str = Field("", title="Which", json_schema_extra=field(choices=SERVICES, example="backend"))
        code: str = Field("", json_schema_extra=field(maxLength=3))

    assert Told.model_json_schema()["properties"] == {
        "reason": {
            "type": "string",
            "title": "Reason",
            "description": "Why.",
            "examples": ["The queue is growing"],
            "position": 0,
            "if": {"pattern": r"^(?:(?=[\s\S]*\w)[\s\S]{0,500})$"},
            "else": {"const": "at least one word, at most 500 characters"},
        },
        "service": {
            "type": "string",
            "title": "Which",
            "default": "",
            "examples": ["backend"],
            "position": 1,
            "x-choices": "services",
        },
        "code": {"type": "string", "title": "Code", "default": "", "position": 2, "maxLength": 3},
    }


def test_no_box_has_null_for_a_default_and_a_required_one_has_none() -> None:
    """The UI sends null for an empty box, and Prefect refuses null where the field has a default."""
    fields = Ask.model_json_schema()["properties"]
    assert [name for name, one in fields.items() if one.get("default", "") is None] == ["count", "part"]
    has_default = {name for name, one in fields.items() if "default" in one}
    assert has_default == {"note", "code", "entries", "service", "count", "part"}


def test_what_only_this_project_fills_in_is_not_shown_and_may_be_sent() -> None:
    """A name that scripts use goes through as well; every other unknown field is refused by the form."""
    schema = Short.model_json_schema()
    assert list(schema["properties"]) == ["number", "note"]
    assert schema["required"] == ["number"]
    for form, value, is_taken in ((Short, {"number": 1, "secret": 2}, True), (Strict, {"notes": ""}, False)):
        assert Draft202012Validator(form.model_json_schema()).is_valid(value) is is_taken
    assert "required" not in Strict.model_json_schema()


def test_a_script_may_use_an_earlier_name_and_no_unknown_one() -> None:
    """The field's own name wins nothing: each is read as the field."""
    assert Ask.model_validate({"why": "a flood", "note": "n"}) == Ask(reason="a flood", note="n")
    assert Ask.model_validate(Ask(reason="x")) == Ask(reason="x")
    with pytest.raises(ValidationError, match="wherefore"):
        Ask.model_validate({"wherefore": "a flood"})


def test_a_script_is_told_each_limit_that_it_breaks() -> None:
    """The model takes more than the form does, and one line for each field says so."""
    assert too_many(Ask(reason="x" * 500, entries=("a", "b"), code="abab")) == []
    assert too_many(Ask(reason="x" * 501, entries=("a",) * 3, code="ababab")) == [
        "reason: it has 501 characters; at most 500 are taken",
        "code: it has 6 characters; at most 5 are taken",
        "entries: it has 3 entries; at most 2 are taken",
    ]


class Starts(BaseModel):
    """The parameters of a flow that people start."""

    ask: Ask
    short: Short | None = None
    environment: str = "production"
    lease_id: str = ""


class Recovers(BaseModel):
    """Those of a flow that only this project starts."""

    lease_id: str
    environment: str = "production"
    names: list[str] | None = None


class Stops(BaseModel):
    """Those of a flow that this project starts, or a person with a form."""

    part: Part
    ask: Ask | None = None
    environment: str = "production"


def form_of(parameters: type[BaseModel], *, is_internal: bool) -> dict[str, Any]:
    """The form of a deployment, from the schema as Prefect stores it."""
    schema = parameters.model_json_schema(ref_template="#/definitions/{model}")
    if "$defs" in schema:
        schema["definitions"] = schema.pop("$defs")
    return deployed(schema, "staging", ["backend", "ai-core"], is_internal=is_internal)


def test_a_deployment_offers_its_own_environment_and_services() -> None:
    """A list of services is chosen entry by entry, one service as a whole."""
    form = form_of(Starts, is_internal=False)
    assert list(form["properties"]) == ["ask", "short", "environment", "lease_id"]
    assert [one["title"] for one in form["properties"].values()] == ["Ask", "Short", "Environment", "Lease id"]
    environment = form["properties"]["environment"]
    assert (environment["enum"], environment["default"]) == (["staging"], "staging")
    assert form["required"] == ["ask", "environment"]
    fields = form["definitions"]["Ask"]["properties"]
    assert (fields["services"]["items"]["enum"], fields["service"]["enum"]) == (["backend", "ai-core"],) * 2
    assert "enum" not in fields["services"]
    assert "enum" not in fields["note"]


@pytest.mark.parametrize(
    ("flow", "shown"),
    [
        pytest.param(Starts, ["ask", "short", "environment"], id="each form, be it needed or not"),
        pytest.param(Stops, ["ask", "environment"], id="no model that people do not fill in"),
        pytest.param(Recovers, ["environment"], id="nothing but the environment"),
    ],
)
def test_where_the_project_starts_a_run_only_what_people_fill_in_is_shown(
    flow: type[BaseModel], shown: list[str]
) -> None:
    """Nothing of it is required: a person leaves it empty, and the flow finds out for itself."""
    form = form_of(flow, is_internal=True)
    assert list(form["properties"]) == shown
    assert form["required"] == ["environment"]
    assert ("definitions" in form) is (len(shown) > 1)
    assert deployed(form, "staging", ["backend", "ai-core"], is_internal=True) == form


def test_a_flow_without_an_environment_requires_nothing_more() -> None:
    """Its schema is completed, not invented."""
    assert deployed({}, "staging", [], is_internal=False) == {"properties": {}}
    names = form_of(Recovers, is_internal=False)["properties"]["names"]
    assert {"type": "array", "items": {"type": "string"}}.items() <= names.items()
    assert "default" not in names
