"""Whatever stands in our annotations is read, or set aside as a value; nothing is raised, and nothing odd believed."""

import json

import pytest
from annotations import LEASES, OTHER, SERVICE, cases, written

from playbook.lease.record import EPOCH, INCIDENTS, LEASE, Record, Unreadable


@pytest.mark.parametrize(("key", "value"), [pytest.param(one.key, one.value, id=one.name) for one in cases()])
def test_hostile_annotations_are_read_or_set_aside(key: str, value: str) -> None:
    """Either a record that can be written and read again, with names that are safe in a command; or a short sentence
    that names the service, without a word of what stands there: people read it on a page."""
    found = Record.parse(SERVICE, {EPOCH: "100", key: value})
    if isinstance(found, Unreadable):
        assert str(found).startswith(SERVICE)
        assert len(str(found)) < 600
        assert "evil" not in str(found)
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
