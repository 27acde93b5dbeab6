"""A reference to a secret: what a block holds and Prefect stores. The worker reads the secret when a call needs it."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from playbook.errors import Refused, Transient

Reader = Callable[[str], Awaitable[SecretStr]]
"""Reads one version of Secret Manager, by its full name."""

FORM = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]{0,200}|file:/[^\x00-\x1f]{1,1000}"
    r"|secret-manager:projects/[a-z0-9:.-]{1,100}/secrets/[A-Za-z0-9_-]{1,255}/versions/[a-z0-9-]{1,64}"
)
FORMS = "env:NAME, file:/PATH or secret-manager:projects/P/secrets/S/versions/latest"
GIVEN = "given:"
"""How a secret that this process was given is written. It cannot be stored and read again."""
KEPT_S = 60.0
"""Seconds that a value of Secret Manager is used before it is read again."""
SECRET_MAX = 8192

_kept: dict[str, tuple[float, SecretStr]] = {}
_known: dict[str, None] = {}
"""Every value that this process has read, the newest last, so that it can be masked in text from outside."""
KNOWN_MAX = 200


class SecretReference:
    """Where a secret is: an environment variable of the worker, a file on its disk, or a version of Secret Manager."""

    __slots__ = ("_given", "_reader", "text")

    def __init__(self, text: str, *, reader: Reader | None = None, given: SecretStr | None = None) -> None:
        """Raises ValueError, without a word of ``text``, if it is not one of FORMS: it may be the secret itself."""
        if given is None and FORM.fullmatch(text) is None:
            raise ValueError(
                f"a block holds no secret, only where it is: {FORMS}. If an earlier version of this project saved "
                "this block, apply its environment file again"
            )
        self.text, self._reader, self._given = text, reader, given

    @classmethod
    def given(cls, secret: SecretStr) -> Self:
        """A secret that this process has already; for tests and for one database beside another."""
        return cls(GIVEN, given=SecretStr(one_word(secret.get_secret_value())))

    @property
    def secret_name(self) -> str:
        """The full name of the version in Secret Manager; empty where it is kept elsewhere."""
        kind, _, place = self.text.partition(":")
        return place if kind == "secret-manager" else ""

    def read_by(self, reader: Reader | None) -> Self:
        """The same reference, read through ``reader`` where it leads to Secret Manager; None: Google's own endpoint."""
        return type(self)(self.text, reader=reader, given=self._given)

    def within(self, template: str) -> "Credential":
        """``template`` with the secret in place of ``{}``, put together when it is needed."""
        return Credential(template, self)

    async def read(self) -> SecretStr:
        """The secret itself. A value of Secret Manager is kept for KEPT_S, and longer while Secret Manager is away.

        Raises: Refused (nothing there, no permission, not one word of ASCII), Transient (away, and nothing was kept).
        """
        return await self._read(one_word)

    async def read_text(self) -> SecretStr:
        """As `read`, for a secret of several words, such as JSON."""
        return await self._read(str.strip)

    async def _read(self, checked: Callable[[str], str]) -> SecretStr:
        kind, _, place = self.text.partition(":")
        try:
            if self._given is not None:
                found = self._given
            elif kind == "env":
                found = SecretStr(_variable(place))
            elif kind == "file":
                found = SecretStr(await asyncio.to_thread(_file, place))
            else:
                found = await self._from_manager(place)
            value = checked(found.get_secret_value())
        except (OSError, ValueError) as error:
            # The value is in no message, and neither is an error that may quote it.
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise Refused(f"The secret {self.text} cannot be read here: {said}.") from None
        remember(value)
        return SecretStr(value)

    async def _from_manager(self, version: str) -> SecretStr:
        kept = _kept.get(self.text)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        try:
            found = await (self._reader or _default_reader)(version)
        except Transient:
            if kept is None:
                raise
            return kept[1]
        _kept[self.text] = (time.monotonic() + KEPT_S, found)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretReference) and (self.text, self._given) == (other.text, other._given)

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"SecretReference({self.text!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(env|file|secret-manager):.+$", "maxLength": 1500}

    @classmethod
    def _validated(cls, value: object) -> "SecretReference":
        if isinstance(value, SecretReference):
            return value
        if isinstance(value, SecretStr):
            return cls.given(value)
        if not isinstance(value, str):
            raise ValueError(f"say where the secret is: {FORMS}")
        return cls(value)


@dataclass(frozen=True)
class Credential:
    """A text with a secret in it, for a header. It shows the reference and never the secret."""

    template: str
    reference: SecretReference

    async def read(self) -> str:
        """The text with the secret. Raises as `SecretReference.read`."""
        return self.template.format((await self.reference.read()).get_secret_value())


async def resolved(texts: Mapping[str, str | Credential]) -> dict[str, str]:
    """``texts`` with every credential put together. Raises as `SecretReference.read`."""
    return {name: await one.read() if isinstance(one, Credential) else one for name, one in texts.items()}


def known_values() -> tuple[str, ...]:
    """Every secret that this process has read, for masking them in text from outside."""
    return tuple(_known)


def one_word(text: str) -> str:
    """A secret without the newline that files and clipboards add.

    One that still holds a space or a control character is refused here: an HTTP library would refuse it later, and
    print it. Raises ValueError.
    """
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a secret must be one word of printable ASCII characters")
    return text


def remember(value: str) -> None:
    """``value`` is masked in text from outside from now on."""
    _known.pop(value, None)
    _known[value] = None
    while len(_known) > KNOWN_MAX:
        del _known[next(iter(_known))]


def _variable(name: str) -> str:
    if not os.environ.get(name):
        raise ValueError(f"the environment variable {name} is not set; set it where this process is started")
    return os.environ[name]


def _file(path: str) -> str:
    with Path(path).open("rb") as file:
        found = file.read(SECRET_MAX + 1)
    if len(found) > SECRET_MAX:
        raise ValueError(f"it is longer than {SECRET_MAX} bytes")
    try:
        return found.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("a secret must be one word of printable ASCII characters") from None


async def _default_reader(version: str) -> SecretStr:
    from blocks.secret_manager import SecretManager

    return await SecretManager(project=version.split("/")[1]).value(version)
