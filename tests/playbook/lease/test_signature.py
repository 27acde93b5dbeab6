"""Annotations are believed only as far as the engine has signed them, for that service, in that environment.

The cases are made from the annotations that a record has, so that a new one joins by itself.
"""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbook.errors import Refused
from playbook.lease import record as records
from playbook.lease.lease import ReleaseLease, ServiceRollout
from playbook.lease.record import EPOCH, PREFIX, SIGNATURE, Aside, Mitigation, Participant, Record, Unreadable
from playbook.lease.signature import Key, Scope, sign, signed, why_not_ours
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit

OLD, NEW, FOREIGN = (Key.of(name * 40) for name in ("o", "n", "f"))
HERE = Scope(environment="production", project="p", region="us-east1", service="ethixai-ai-core", uid="uid-1")
SPLIT = TrafficSplit.all_to("ethixai-ai-core-old")
LEASE = ReleaseLease(
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    flow_run_id="123e4567-e89b-12d3-a456-426614174000",
    epoch=100,
    rollouts=(
        ServiceRollout(service=HERE.service, from_revision="old", to_revision="new", found=SPLIT, image="r@sha256:1"),
    ),
    canary_percent=10,
    deadline_s=1e9,
)
GOOD = (Promotion(release="v1", revision="r", digest="", promoted_at_s=1),)
WAY_BACK = Mitigation(measure=Measure.SCALE, by="a", reason="b", at_s=1, split=SPLIT, scaling=Scaling())
FULL = (
    Record(lease=LEASE, epoch=100, last_good=GOOD, mitigation=WAY_BACK, incidents=("an-incident",)).annotations()
    | Record(participant=Participant(release_id="r", epoch=100, coordinator="c", split=SPLIT), epoch=100).annotations()
)
"""Every annotation that a record can have."""
ANNOTATIONS = {name: value for name, value in vars(records).items() if isinstance(value, str) and value != PREFIX}
NAMES = sorted(value for value in ANNOTATIONS.values() if value.startswith(PREFIX) and value != SIGNATURE)


def elsewhere(**changes: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """The annotations as they stand, signed, in another place."""
    return lambda found: signed(found, HERE.model_copy(update=changes), NEW)


def replayed(found: dict[str, str]) -> dict[str, str]:
    """The signature of what stood there before."""
    return {**found, SIGNATURE: sign({**found, EPOCH: "99"}, HERE, NEW)}


FORGED: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "unsigned": lambda found: found,
    "a signature that is empty": lambda found: {**found, SIGNATURE: ""},
    "a signature of another form": lambda found: {**found, SIGNATURE: "\x00" * 100_000},
    "an unknown key": lambda found: signed(found, HERE, FOREIGN),
    "our key's name, their secret": lambda found: {
        **found,
        SIGNATURE: sign(found, HERE, FOREIGN).replace(FOREIGN.id, NEW.id),
    },
    "an older record's signature": replayed,
    "another uid": elsewhere(uid="uid-2"),
    "another service": elsewhere(service="ethixai-backend"),
    "another environment": elsewhere(environment="staging"),
    "another project": elsewhere(project="q"),
    "another region": elsewhere(region="europe-west1"),
}


def test_every_annotation_of_a_record_is_among_the_cases() -> None:
    """A new annotation joins by itself, or this says that it does not."""
    assert sorted(FULL) == NAMES


def cases() -> Iterator[object]:
    """Every annotation alone and all of them, forged in every way."""
    subjects = {name.removeprefix(PREFIX): {name: FULL[name]} for name in NAMES} | {"all": FULL}
    for what, found in subjects.items():
        for how, forge in FORGED.items():
            yield pytest.param(forge(dict(found)), id=f"{what}: {how}")


@pytest.mark.parametrize("found", cases())
def test_forged_annotations_are_set_aside(found: dict[str, str]) -> None:
    """Whatever they say: the record of the service is not read, with a sentence that names the service."""
    why = why_not_ours(found, HERE, (NEW, OLD))
    assert 0 < len(why) < 200
    snapshot = ServiceSnapshot(
        service=HERE.service, etag="1", uri="", split=SPLIT, served=SPLIT, annotations=found, distrust=why
    )
    aside = Record.of(snapshot)
    assert isinstance(aside, Unreadable)
    assert aside.why is Aside.UNSIGNED
    with pytest.raises(Refused, match=HERE.service):
        Record.read(snapshot)


@pytest.mark.parametrize("name", NAMES)
def test_one_annotation_cannot_be_changed_added_or_removed(name: str) -> None:
    """All of them are under one signature."""
    whole = signed(FULL, HERE, NEW)
    without = signed({key: value for key, value in FULL.items() if key != name}, HERE, NEW)
    assert why_not_ours(whole, HERE, (NEW,)) == why_not_ours(without, HERE, (NEW,)) == ""
    for changed in (
        {key: value for key, value in whole.items() if key != name},
        {**without, name: FULL[name]},
        {**whole, name: FULL[name] + " "},
    ):
        assert why_not_ours(changed, HERE, (NEW,))


def test_a_service_without_our_annotations_says_nothing_and_needs_no_signature() -> None:
    """A new service; what other people annotate is theirs."""
    assert why_not_ours({"team": "platform"}, HERE, (NEW,)) == ""
    assert signed({"team": "platform"}, HERE, NEW) == {}


def test_while_keys_rotate_both_count_and_the_first_signs() -> None:
    """What the old key signed is believed until it is no longer named."""
    before, after = signed(FULL, HERE, OLD), signed(FULL, HERE, NEW)
    assert {why_not_ours(one, HERE, (NEW, OLD)) for one in (before, after)} == {""}
    assert OLD.id in why_not_ours(before, HERE, (NEW,))


TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
PARTS = st.dictionaries(TEXT.map(lambda text: PREFIX + text), TEXT, min_size=1, max_size=3)


@given(one=PARTS, other=PARTS)
def test_two_different_records_have_different_signatures(one: dict[str, str], other: dict[str, str]) -> None:
    """Where a name ends and its value begins cannot be moved; lone surrogates and NUL are signed as they are."""
    one.pop(SIGNATURE, None), other.pop(SIGNATURE, None)
    assert (sign(one, HERE, NEW) == sign(other, HERE, NEW)) == (one == other)


@pytest.mark.parametrize("secret", ["", "x" * 31])
def test_a_short_key_is_refused(secret: str) -> None:
    """A key that can be guessed signs for everyone."""
    with pytest.raises(ValueError, match="at least 32"):
        Key.of(secret)
    assert "nnnn" not in repr(NEW)


def test_the_shortest_key_that_is_long_enough_is_taken() -> None:
    """32 characters, as openssl writes 16 bytes."""
    assert len(Key.of("x" * 32).id) == 8
