"""The signing key of an environment: what only the worker reads, and what every record on a service is signed with."""

import asyncio

from pydantic import Field, model_validator

from blocks.clock import monotonic_s
from blocks.secret_reference import SecretReference
from playbook.base import Written
from playbook.errors import Refused, Transient
from playbook.lease import signature
from playbook.lease.record import Record
from playbook.lease.signature import Key, Scope
from playbook.release.traffic import ServiceSnapshot

TRIES = 3
PAUSE_S = 1.0
"""Secret Manager is asked so often, with this pause, before its key counts as unreadable."""
ASK_AGAIN_S = 10.0
"""A key that could not be read is not asked for again so soon: a rollback must not wait for it at every read."""


class Signing(Written):
    """Where the signing keys are: the first one signs, each of them counts. A file may say ``signing = "none"``."""

    secrets: tuple[SecretReference, ...] = Field(
        (),
        max_length=2,
        description="one; two while a new one takes over. A file calls them keys. A field of that name would make "
        "Prefect take this value for a mapping, and fail every task that is given the environment",
    )
    none: bool = Field(False, description="the file says in so many words that nothing is signed")

    @model_validator(mode="before")
    @classmethod
    def _reads_none(cls, written: object) -> object:
        if isinstance(written, dict) and "keys" in written:
            return {"secrets": written["keys"], **{key: one for key, one in written.items() if key != "keys"}}
        return {"none": True} if written == "none" else written


class Signer:
    """Signs what an environment writes on its services, and checks what it reads there.

    A key that was read once is kept: a run that began with it goes on with it. Without keys nothing is signed, and
    everything is believed.
    """

    def __init__(self, environment: str, keys: tuple[SecretReference, ...]) -> None:
        self.environment = environment
        self._references = keys
        self._keys: tuple[Key, ...] = ()
        self._failed: tuple[float, Refused] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signer) and (self.environment, self._references) == (
            other.environment,
            other._references,
        )

    def __hash__(self) -> int:
        return hash((self.environment, self._references))

    async def keys(self) -> tuple[Key, ...]:
        """The keys, the one that signs first; none where the environment signs nothing. Raises Refused: unreadable."""
        if self._keys or not self._references:
            return self._keys
        if self._failed is not None and monotonic_s() < self._failed[0]:
            raise self._failed[1]
        try:
            self._keys = tuple([await _read(reference) for reference in self._references])
        except Refused as unreadable:
            self._failed = (monotonic_s() + ASK_AGAIN_S, unreadable)
            raise
        return self._keys

    async def checked(self, snapshot: ServiceSnapshot, project: str, region: str) -> ServiceSnapshot:
        """``snapshot``, which says why its annotations must not be believed where that is so."""
        try:
            keys = await self.keys()
        except Refused as unreadable:
            return snapshot.model_copy(update={"distrust": str(unreadable), "has_key": False})
        if not keys:
            return snapshot
        why = signature.why_not_ours(snapshot.annotations, self._scope(snapshot, project, region), keys)
        return snapshot.model_copy(update={"distrust": why})

    async def written(self, record: Record, snapshot: ServiceSnapshot, project: str, region: str) -> dict[str, str]:
        """The annotations of ``record``, signed for the service of ``snapshot``. Raises Refused: no key can be read."""
        keys = await self.keys()
        if not keys:
            return record.annotations()
        return signature.signed(record.annotations(), self._scope(snapshot, project, region), keys[0])

    async def sign_words(self, what: str, words: str) -> str:
        """The signature of ``words`` for another run of this environment; empty where nothing is signed. Raises
        Refused: no key can be read."""
        keys = await self.keys()
        return signature.sign_words(self.environment, what, words, keys[0]) if keys else ""

    async def check_words(self, what: str, words: str, given: str) -> None:
        """A run of the engine has signed ``words`` for this. Raises Refused: it has not, or no key can be read."""
        keys = await self.keys()
        if keys and not signature.are_our_words(self.environment, what, words, given, keys):
            raise Refused(
                f"No run of the engine has signed what this {what} in {self.environment} would say: nothing is done. "
                "Runs of it are started by the engine alone."
            )

    def _scope(self, snapshot: ServiceSnapshot, project: str, region: str) -> Scope:
        return Scope(
            environment=self.environment, project=project, region=region, service=snapshot.service, uid=snapshot.uid
        )


async def _read(reference: SecretReference) -> Key:
    """The key. Raises Refused: it is not there, may not be read, is too short, or Secret Manager stays away."""
    for tried in range(1, TRIES + 1):
        try:
            return Key.of((await reference.read()).get_secret_value())
        except ValueError as short:
            raise Refused(f"The signing key {reference} cannot be used: {short}.") from None
        except Refused as refusal:
            raise Refused(f"The signing key cannot be read. {refusal}") from refusal
        except Transient as away:
            if tried == TRIES:
                raise Refused(f"The signing key {reference} cannot be read: {away}") from away
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("the last try has returned or raised")
