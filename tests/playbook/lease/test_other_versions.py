"""A lease of the next minor version, read by this one, and the reverse: an upgrade leaves no release to a person.

Fields are added with a default, and a lease leaves out what is at its default (docs/operations.md, Upgrades).
"""

import json
from typing import Any

import pytest

from playbook.lease.lease import Decision, Lease, ReleaseLease, ServiceRollout
from playbook.lease.record import LEASE, Mitigation, Participant, Record
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import Scaling, TrafficSplit

SERVICE = "ethixai-ai-core"
SPLIT = TrafficSplit.all_to("ethixai-ai-core-old")
COMMON: dict[str, Any] = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "123e4567-e89b-12d3-a456-426614174000",
    "epoch": 100,
    "rollouts": (
        ServiceRollout(service=SERVICE, from_revision="old", to_revision="new", found=SPLIT, image="r@sha256:1"),
    ),
    "deadline_s": 1e9,
}
LEASES: dict[str, Lease] = {
    "release": ReleaseLease(**COMMON, canary_percent=10),
    "release that is being promoted": ReleaseLease(**COMMON, canary_percent=10)
    .decided(Decision.BAKE)
    .baking_from(1e9)
    .decided(Decision.PROMOTE),
}


MAPPINGS = ("percent", "tags")
"""Fields whose keys are names of revisions and tags: what is added there is a revision, not a field."""


def with_news(value: Any) -> Any:
    """The same JSON with a field that this version does not know, in every object."""
    if isinstance(value, dict):
        known = {key: one if key in MAPPINGS else with_news(one) for key, one in value.items()}
        return {**known, "of_the_next_version": {"and": ["its", 1]}}
    return [with_news(one) for one in value] if isinstance(value, list) else value


def newer(annotations: dict[str, str]) -> dict[str, str]:
    """The annotations as the next version might write them."""
    return {
        key: json.dumps(with_news(json.loads(value))) if value.startswith(("{", "[")) else value
        for key, value in annotations.items()
    }


@pytest.mark.parametrize("lease", LEASES.values(), ids=LEASES)
def test_a_lease_of_the_next_version_is_read(lease: Lease) -> None:
    """What this version knows of it means the same; what it does not know is left aside."""
    record = Record(lease=lease, epoch=100)
    assert Record.parse(SERVICE, newer(record.annotations())) == record


def test_what_else_stands_on_a_service_is_read_too() -> None:
    """A participant, the good releases, and a measure with its way back."""
    record = Record(
        participant=Participant(release_id="r", epoch=100, coordinator="c", split=SPLIT),
        epoch=100,
        last_good=(Promotion(release="v1", revision="r", digest="", promoted_at_s=1),),
        mitigation=Mitigation(measure=Measure.SCALE, by="a", reason="b", at_s=1, split=SPLIT, scaling=Scaling()),
        incidents=("an-incident",),
    )
    assert Record.parse(SERVICE, newer(record.annotations())) == record


@pytest.mark.parametrize("changed", [{"kind": "rehearsal"}, {"decision": "WAIT"}])
def test_what_this_version_cannot_carry_out_is_set_aside(changed: dict[str, str]) -> None:
    """A kind or a decision that it does not know is not guessed: a person is paged, and users stay where they are."""
    found = Record(lease=LEASES["release"], epoch=100).annotations()
    found[LEASE] = json.dumps({**json.loads(found[LEASE]), **changed})
    assert not isinstance(Record.parse(SERVICE, found), Record)
