"""The forms: every field that is missing or wrong is named, with what to do."""

import pytest
from pydantic import ValidationError

from playbook.checklist.items import Override, Topic, override_problems
from playbook.errors import BadRequest
from playbook.form import Form
from playbook.incident.decision_matrix import MATRIX, Symptom, Trigger
from playbook.release.request import (
    ExploitCheck,
    ExploitRequest,
    HotfixRequest,
    Measure,
    MitigateRequest,
    RollbackRequest,
    StandDown,
)
from playbook.release.version import ReleaseRequest, Version

SERVICES = ("ethixai-ai-core", "ethixai-backend")
HOTFIX = {
    "version": "v20251116-hotfix1-abc123",
    "reason": "a hole",
    "incident": "CVE-2025-12345",
    "approver": "the security lead",
}
EXPLOIT = "env:EXPLOIT_LOGIN"


def test_a_whole_hotfix_request_has_no_problem() -> None:
    """Version, reason, incident, approver: nothing else is needed."""
    assert HotfixRequest.model_validate(HOTFIX).problems(SERVICES) == []


@pytest.mark.parametrize("missing", HOTFIX)
def test_each_field_that_a_hotfix_lacks_is_named(missing: str) -> None:
    """Also where it is only spaces."""
    (problem,) = HotfixRequest.model_validate(HOTFIX | {missing: "  "}).problems(SERVICES)
    assert problem.startswith(f"{missing}: ")


def test_everything_that_is_missing_is_named_at_once() -> None:
    """Nobody corrects a form four times at 3 a.m."""
    assert [problem.split(":")[0] for problem in HotfixRequest().problems(SERVICES)] == list(HOTFIX)


@pytest.mark.parametrize("version", ["v20251116-abc123", "v20251116-hotfix-abc123", "hotfix1", "v20251116-hotfix1"])
def test_a_hotfix_has_a_hotfix_version(version: str) -> None:
    """The form is said, with an example."""
    (problem,) = HotfixRequest.model_validate(HOTFIX | {"version": version}).problems(SERVICES)
    assert problem == f"version: {version!r} is not vYYYYMMDD-hotfixN-<commit>, for example v20251116-hotfix1-abc123"


NO_DAYS = ["20259999", "20250229", "20251301", "00000101", "20251100"]


@pytest.mark.parametrize("day", NO_DAYS)
def test_a_version_is_of_a_real_day(day: str) -> None:
    """A release and a hotfix of a day that never was are refused, and the message names field and day."""
    (of_release,) = ReleaseRequest(version=f"v{day}-abc123").problems(SERVICES)
    (of_hotfix,) = HotfixRequest.model_validate(HOTFIX | {"version": f"v{day}-hotfix1-abc123"}).problems(SERVICES)
    for problem in (of_release, of_hotfix):
        assert problem.startswith("version: ")
        assert f"{day}, which is no day" in problem
    with pytest.raises(BadRequest, match=f"version: .*{day}"):
        Version.parse(f"v{day}-abc123")


def test_a_leap_day_is_a_day() -> None:
    """2024 had one."""
    assert ReleaseRequest(version="v20240229-abc123").problems(SERVICES) == []


def test_an_exploit_is_tried_on_a_service_that_exists() -> None:
    """One of another environment would be refused by nobody, which proves nothing."""
    wrong = HotfixRequest.model_validate(HOTFIX | {"exploit": [{"request": EXPLOIT, "service": "ethixai-nope"}]})
    (problem,) = wrong.problems(SERVICES)
    assert problem.startswith("exploit: 'ethixai-nope' is not a service")


@pytest.mark.parametrize("path", ["x", "https://elsewhere.example/", "/a b"])
def test_an_exploit_stays_on_the_service(path: str) -> None:
    """Its path begins at the service; another host is not asked."""
    with pytest.raises(ValidationError):
        ExploitRequest(path=path)


def test_an_exploit_is_no_part_of_the_request() -> None:
    """Run parameters can be read by every user of Prefect: they hold a reference. What an earlier version wrote into a
    lease is still read."""
    wrong = HotfixRequest.model_validate(HOTFIX | {"exploit": [{"path": "/admin?debug=1", "body": "payload"}]})
    (problem,) = wrong.problems(SERVICES)
    assert problem.startswith("exploit: the parameters of a run can be read")
    (check,) = wrong.exploit
    assert check.literal == ExploitRequest(path="/admin?debug=1", body="payload")
    assert HotfixRequest.model_validate(HOTFIX | {"exploit": [{}]}).problems(SERVICES)[0].startswith("exploit: say in")


@pytest.mark.parametrize(
    "reference",
    [
        "/admin",
        "env:SLACK_TOKEN",
        "file:/etc/passwd",
        "secret-manager:projects/p/secrets/slack/versions/latest",
        "env:EXPLOIT_A\nGET /admin",
        "env:EXPLOIT_A GET /admin",
    ],
)
def test_an_exploit_is_read_from_secrets_made_for_it(reference: str) -> None:
    """A check that named another secret would send it to the service."""
    assert ExploitCheck(request=reference).problems() != []


def rollback(**fields: object) -> RollbackRequest:
    whole = {"symptom": Symptom.ERRORS_ABOVE_MAX, "reason": "r", "requested_by": "ada"}
    return RollbackRequest.model_validate(whole | fields)


@pytest.mark.parametrize("symptom", Symptom)
def test_the_matrix_is_asked_before_a_rollback(symptom: Symptom) -> None:
    """Where it says no rollback, only a reason to do it even so goes on."""
    says_no = MATRIX[symptom].trigger in (Trigger.NEVER, Trigger.NEVER_FORWARD)
    problems = rollback(symptom=symptom).problems()
    assert bool(problems) is says_no
    assert all("override_reason: " in problem and MATRIX[symptom].response.value in problem for problem in problems)
    assert rollback(symptom=symptom, override_reason="it leaks data now").problems() == []


def test_a_script_may_use_the_earlier_name_of_the_override() -> None:
    """It is `even_so` in scripts, and in leases that an earlier version wrote; what is stored has the new name."""
    found = rollback(even_so="it leaks data now")
    assert (found.override_reason, "even_so" in found.model_dump_json()) == ("it leaks data now", False)
    with pytest.raises(ValidationError):
        rollback(even_sooo="no such field")


def test_a_rollback_says_why_and_who() -> None:
    """Both are told to everybody."""
    problems = rollback(reason="", requested_by="").problems()
    assert [problem.split(":")[0] for problem in problems] == ["reason", "requested_by"]


MITIGATIONS = {
    "an unknown service": ({"service": "x"}, "service: 'x' is not a service"),
    "scaling without a number": ({"instances": None}, "instances: say how many"),
    "a number that is not used": ({"measure": Measure.RESTORE}, "instances: say how many for scale, and leave it"),
    "no maintenance revision": (
        {"measure": Measure.READ_ONLY, "instances": None},
        "measure: ethixai-backend has no maintenance revision. Deploy one",
    ),
    "no reason": ({"reason": ""}, "reason: say why"),
    "nobody": ({"requested_by": ""}, "requested_by: say who asks"),
}


@pytest.mark.parametrize(("fields", "words"), MITIGATIONS.values(), ids=MITIGATIONS)
def test_what_a_mitigation_lacks_is_named(fields: dict[str, object], words: str) -> None:
    """One line for each field, with the next step."""
    whole = {
        "service": "ethixai-backend",
        "measure": Measure.SCALE,
        "instances": 13,
        "reason": "a flood",
        "requested_by": "ada",
    }
    assert MitigateRequest.model_validate(whole).problems(SERVICES, "") == []
    (problem,) = MitigateRequest.model_validate(whole | fields).problems(SERVICES, "")
    assert problem.startswith(words)


def test_a_share_of_four_hundred_digits_is_refused_in_words() -> None:
    """It is no float any more."""
    (problem,) = ReleaseRequest(canary_percent=10**400).problems(("ethixai-backend",))
    assert problem.startswith("canary_percent: 1000")
    assert len(problem) < 200


INVISIBLE = "\u2060"
LONG: list[tuple[Form, str]] = [
    (ReleaseRequest(changes="x" * 2001), "changes: it has 2001 characters; at most 2000 are taken"),
    (ReleaseRequest(requested_by="x" * 201), "requested_by: it has 201 characters; at most 200 are taken"),
    (
        RollbackRequest(symptom=Symptom.SOMETHING_ELSE, reason="x" * 501, requested_by="Ada"),
        "reason: it has 501 characters",
    ),
    (
        ReleaseRequest(overrides=(Override(item=Topic.CI, by="Ada", reason="x" * 501),)),
        "overrides: ci: reason: it has 501 characters; at most 500 are taken",
    ),
    (
        ReleaseRequest(overrides=(Override(item=Topic.CI, by="Ada", reason="x"),) * 21),
        "overrides: it has 21 entries; at most 20 are taken",
    ),
    (StandDown(release="x" * 501, by="Ada", reason="done by hand"), "release: it has 501 characters"),
]


@pytest.mark.parametrize(("request_", "says"), LONG, ids=[says for _, says in LONG])
def test_what_is_too_long_is_refused_in_words(request_: Form, says: str) -> None:
    """A request from a script is answered as the form would."""
    found = request_.problems(("a",)) if isinstance(request_, ReleaseRequest) else request_.problems()  # type: ignore[attr-defined]
    assert any(problem.startswith(says) for problem in found), found


@pytest.mark.parametrize("nothing", ["", " ", INVISIBLE, "-", "\u3164"])
def test_what_says_nothing_is_missing(nothing: str) -> None:
    """Wherever a name or a reason is asked for."""
    asked = HotfixRequest(version=HOTFIX["version"], reason=nothing, incident=nothing, approver=nothing)
    assert {one.split(":")[0] for one in asked.problems(("a",))} == {"reason", "incident", "approver"}
    override = Override(item=Topic.CI, by=nothing, reason=nothing)
    assert len(override_problems([override])) == 2


def test_true_is_no_share() -> None:
    """Python takes it for 1."""
    (problem,) = ReleaseRequest(canary_percent=True).problems(("a",))
    assert problem == "canary_percent: true is no number; write one between 1 and 99"
    with pytest.raises(ValidationError, match="must not be true or false"):
        MitigateRequest(service="a", measure="scale", instances=True, reason="load", requested_by="Ada")
    with pytest.raises(ValidationError, match="must not be true or false"):
        ExploitCheck(request="env:EXPLOIT_A", refused_with=(True,))


def test_a_letter_that_looks_like_another_is_named() -> None:
    """A Cyrillic letter in a service, a version or a target."""
    (problem,) = ReleaseRequest(services=["ethixаi-backend"]).problems(("ethixai-backend",))
    assert "('а' is CYRILLIC SMALL LETTER A); it has ethixai-backend" in problem
    (problem,) = ReleaseRequest(version="v20251116-аbc123").problems(("a",))
    assert problem.endswith("('а' is CYRILLIC SMALL LETTER A)")
    asked = RollbackRequest(
        symptom=Symptom.SOMETHING_ELSE, reason="it fails", requested_by="Ada", to="ethixai-bаckend-00041-xyz"
    )
    assert "CYRILLIC" in asked.problems()[0]


def test_who_takes_over_says_which_release_and_why() -> None:
    """Recovery must not try again, and people read who is responsible."""
    whole = {"release": "v20251116-abc123-1f2e3d", "by": "Ada", "reason": "done by hand"}
    assert StandDown(**whole).problems() == []
    for missing in whole:
        (problem,) = StandDown(**whole | {missing: ""}).problems()
        assert problem.startswith(f"{missing}: ")
