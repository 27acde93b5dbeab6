"""The signature over all of our annotations on a service: it shows that the engine wrote them, for this very service.

An HMAC-SHA256 over the environment, the project, the region, the service and its uid, the key's id, and every
annotation of ours as it is stored. What was copied from another service or another environment has a wrong one.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from playbook.base import Frozen
from playbook.lease.record import SIGNATURE, ours

KEY_LENGTH_MIN = 32
"""Characters of a signing key."""
_FORM = re.compile(r"([0-9a-f]{8})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class Key:
    """One signing key. ``id`` names it without giving anything of it away."""

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: str) -> Self:
        """The key whose secret this is. Raises ValueError where that is too short."""
        if len(secret) < KEY_LENGTH_MIN:
            raise ValueError(f"a signing key has at least {KEY_LENGTH_MIN} characters: openssl rand -hex 32")
        raw = secret.encode()
        return cls(hmac.new(raw, b"ethixai-playbook key id", hashlib.sha256).hexdigest()[:8], raw)


class Scope(Frozen):
    """For which service of which environment a signature is. ``uid``: a service that is created anew has another."""

    environment: str
    project: str
    region: str
    service: str
    uid: str


def sign(annotations: Mapping[str, str], scope: Scope, key: Key) -> str:
    """The signature of our annotations among these, as it is stored in the annotation SIGNATURE."""
    return f"{key.id}.{_mac(annotations, scope, key)}"


def signed(annotations: Mapping[str, str], scope: Scope, key: Key) -> dict[str, str]:
    """Our annotations among these, with their signature; nothing where there are none."""
    found = {name: value for name, value in ours(annotations).items() if name != SIGNATURE}
    return {**found, SIGNATURE: sign(found, scope, key)} if found else {}


def why_not_ours(annotations: Mapping[str, str], scope: Scope, keys: Sequence[Key]) -> str:
    """Why these annotations must not be believed; empty where they may be. A service without any of ours says nothing.

    Every key of ``keys`` counts; the first one signs.
    """
    found = ours(annotations)
    if not found:
        return ""
    if SIGNATURE not in found:
        return "they are not signed"
    form = _FORM.fullmatch(found[SIGNATURE])
    if form is None:
        return "their signature is malformed"
    key = next((one for one in keys if one.id == form[1]), None)
    if key is None:
        return f"they are signed with key {form[1]}, and {scope.environment} has {', '.join(one.id for one in keys)}"
    if not hmac.compare_digest(_mac(found, scope, key), form[2]):
        return "they were changed after they were signed, or signed for another service or environment"
    return ""


def sign_words(environment: str, what: str, words: str, key: Key) -> str:
    """The signature of ``words`` that one run of the engine hands on to another; ``what`` says for which purpose."""
    said = json.dumps(["handed on", environment, what, words, key.id], ensure_ascii=True).encode("ascii")
    return f"{key.id}.{hmac.new(key.secret, said, hashlib.sha256).hexdigest()}"


def are_our_words(environment: str, what: str, words: str, signature: str, keys: Sequence[Key]) -> bool:
    """Whether a run of the engine has signed ``words`` for this purpose, with one of ``keys``."""
    given = signature.encode("utf-8", "replace")
    return any(hmac.compare_digest(sign_words(environment, what, words, key).encode(), given) for key in keys)


def _mac(annotations: Mapping[str, str], scope: Scope, key: Key) -> str:
    """JSON keeps the parts apart: no two different lists of texts are written the same."""
    found = sorted((name, value) for name, value in ours(annotations).items() if name != SIGNATURE)
    said = ["1", scope.environment, scope.project, scope.region, scope.service, scope.uid, key.id, found]
    return hmac.new(key.secret, json.dumps(said, ensure_ascii=True).encode("ascii"), hashlib.sha256).hexdigest()
