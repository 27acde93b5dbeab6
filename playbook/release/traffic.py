"""What a service looks like from outside: who gets how much traffic, and what is served right now."""

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from playbook.base import Frozen
from playbook.errors import Refused

LATEST = "LATEST"
"""Stands in a split for Cloud Run's moving target, until it is pinned to a revision."""

FIRST_EDITION_TAG = "canary"
_OUR_REVISION = re.compile(r"[a-z0-9-]+-[0-9a-f]{1,12}-[0-9a-f]{6}")
_OLDER_CANARY_TAG = re.compile(r"canary-[0-9a-f]{6}")
_CANARY_TAG = re.compile(r"c-([0-9a-f]{6})")
PREVIOUS_TAG = "previous"
TAG_MAX = len(PREVIOUS_TAG)
"""Characters of the longest tag of ours. A tag and its service's name together may have 46."""


def canary_tag(release_id: str) -> str:
    """The tag of one try at a version, ``c-1f2e3d``: what answers at its URL is that try's revision, and no older
    one. It is short, since Cloud Run counts it with the service's name."""
    return f"c-{release_id.rsplit('-', 1)[-1]}"


def is_our_tag(tag: str, revision: str) -> bool:
    """Whether a release of ours has set ``tag``, which is on ``revision``. Every other tag belongs to other people.

    A tag like ours on a revision of another try, or of other people, is theirs. Earlier versions called the tag of a
    try ``canary`` and ``canary-1f2e3d``; their leases may still be in flight.
    """
    if tag == FIRST_EDITION_TAG:
        return _OUR_REVISION.fullmatch(revision) is not None
    if found := _CANARY_TAG.fullmatch(tag):
        return revision.endswith(f"-{found[1]}")
    return tag == PREVIOUS_TAG or _OLDER_CANARY_TAG.fullmatch(tag) is not None


class TrafficSplit(Frozen):
    """Who gets how much: whole percents above 0 that sum to 100, and the tags that reach a revision without traffic."""

    percent: dict[str, int]
    tags: dict[str, str] = Field(default_factory=dict, description="tag -> revision")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(self.percent.values()) != 100 or any(share <= 0 for share in self.percent.values()):
            raise ValueError(f"percents must be above 0 and sum to 100, got {self.percent}")
        return self

    @classmethod
    def all_to(cls, revision: str, tags: Mapping[str, str] | None = None) -> Self:
        """Everything to one revision."""
        return cls(percent={revision: 100}, tags=dict(tags or {}))

    @property
    def main(self) -> str:
        """The revision with the largest share."""
        return max(self.percent, key=self.percent.__getitem__)

    def with_canary(self, canary: str, percent: int) -> Self:
        """Give ``percent`` to the canary; the others share the rest as they did, rounded by largest remainder."""
        rest = 100 - percent
        others = {revision: share for revision, share in self.percent.items() if revision != canary}
        exact = {revision: share * rest / sum(others.values()) for revision, share in others.items()}
        shares = {revision: int(share) for revision, share in exact.items()}
        by_remainder = sorted(exact, key=lambda revision: shares[revision] - exact[revision])
        for revision in by_remainder[: rest - sum(shares.values())]:
            shares[revision] += 1
        split = {revision: share for revision, share in shares.items() if share} | {canary: percent}
        return type(self)(percent=split, tags=self.tags)

    def with_tag(self, tag: str, revision: str) -> Self:
        """The same traffic, with ``tag`` on ``revision``."""
        return self.model_copy(update={"tags": {**self.tags, tag: revision}})

    def without_canary_tags(self) -> Self:
        """The same traffic, without the tags of any try of ours."""
        ours = (tag for tag, revision in self.tags.items() if tag != PREVIOUS_TAG and is_our_tag(tag, revision))
        return self.without_tags(*ours)

    def without_tags(self, *tags: str) -> Self:
        """The same traffic, without these tags."""
        return self.model_copy(update={"tags": {t: r for t, r in self.tags.items() if t not in tags}})

    def moves_like(self, other: "TrafficSplit") -> bool:
        """Whether users are sent the same way. Tags move no user."""
        return self.percent == other.percent

    def __str__(self) -> str:
        return ", ".join(f"{revision} {share} %" for revision, share in self.percent.items())


class Scaling(Frozen):
    """How many instances a service may have. ``manual`` fixes the number (0 stops it); None means automatic."""

    min_instances: int = Field(0, ge=0)
    max_instances: int = Field(0, ge=0)
    manual: int | None = Field(None, ge=0)

    def __str__(self) -> str:
        if self.manual is not None:
            return f"exactly {self.manual} instances"
        return f"{self.min_instances} to {self.max_instances or 'any number of'} instances"


class Revision(Frozen):
    """One revision as Cloud Run reports it."""

    name: str
    image: str
    is_ready: bool
    is_active: bool
    reason: str = ""
    created_at_s: float = 0.0
    secrets: tuple[str, ...] = Field((), description="those that its containers read, SECRET/versions/VERSION")


class ServiceSnapshot(Frozen):
    """One read of a service. Every decision about it is made from one, and written under its resource version."""

    service: str
    etag: str = Field(description="its resource version: a write under another one is refused")
    uri: str
    split: TrafficSplit = Field(description="what was asked for")
    served: TrafficSplit | None = Field(description="what is observed; None before the first revision serves")
    tag_urls: dict[str, str] = Field(default_factory=dict, description="tag -> URL")
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str = Field("", description="Cloud Run's own; a service that is created anew under this name has another")
    distrust: str = Field("", description="why our annotations on it must not be believed; empty: they may be")
    has_key: bool = Field(True, description="false: no signing key could be read to check them with")
    scaling: Scaling = Scaling()
    latest_ready: str = ""
    latest_created: str = ""
    is_reconciling: bool = False
    last_modifier: str = ""
    ingress: str = Field("all", description="all, internal, or internal-and-cloud-load-balancing")
    is_url_disabled: bool = Field(False, description="it has no default URL, and its tags have none")
    failure: str = Field("", description="why it is not ready, in Cloud Run's own words")
    before: str = Field("", description="the resource version that our own write replaced; empty: this is only a read")
    raw: Mapping[str, Any] = Field(
        default_factory=dict,
        repr=False,
        exclude=True,
        description="the object as it was read; a write is this object with a change in it",
    )

    @property
    def pinned(self) -> TrafficSplit:
        """The split asked for, with LATEST replaced by the revision that serves now."""
        percent: dict[str, int] = {}
        for revision, share in self.split.percent.items():
            name = self.latest_ready if revision == LATEST else revision
            percent[name] = percent.get(name, 0) + share
        tags = {tag: self.latest_ready if r == LATEST else r for tag, r in self.split.tags.items()}
        return TrafficSplit(percent=percent, tags=tags)

    def url_of(self, tag: str = "") -> str:
        """Where the revision with ``tag`` answers, or the service itself. Raises Refused where there is no URL."""
        url = self.tag_urls.get(tag, "") if tag else self.uri
        if not url:
            what = f"tag {tag}" if tag else "the service"
            raise Refused(
                f"{self.service}: {what} has no URL. Turn the service's default URL on, so that it can be tested."
            )
        return url

    def serves(self, split: TrafficSplit) -> bool:
        """Whether users are sent as ``split`` says, by what is observed and with no other request under way.

        An operation that does not end says nothing against what is served.
        """
        is_to_change = self.is_reconciling and not self.pinned.moves_like(split)
        return self.served is not None and self.served.moves_like(split) and not is_to_change

    @property
    def is_under_way(self) -> bool:
        """Whether something was asked for that is not served yet, and may still come to be."""
        is_served = self.served == self.pinned and self.latest_ready == self.latest_created
        return self.is_reconciling and not is_served

    def unreachable(self) -> str:
        """Why no request of ours can reach a revision by its tag's URL, in one sentence; empty where it can."""
        if self.is_url_disabled or not self.uri:
            return (
                f"{self.service} has no default URL, so its tags have none and a new revision cannot be tested before "
                f"users reach it. Enable it: gcloud run services update {self.service} --default-url."
            )
        if self.ingress != "all":
            return (
                f"{self.service} takes no request from outside (ingress: {self.ingress}), so a new revision cannot be "
                f"tested before users reach it. Open it: gcloud run services update {self.service} --ingress=all."
            )
        return ""
