"""What every block shares: addresses, references to secrets, errors that show no input, a client per event loop."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

import httpx
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from blocks import google_api
from blocks.secret_reference import Reader, SecretReference
from playbook.base import takes
from playbook.text import says_something

Client = TypeVar("Client")

_SCHEMAS: dict[object, dict[str, Any]] = {}


class PerLoop(Generic[Client]):
    """One client for each running event loop: a gRPC channel or an HTTP pool works only in the loop that made it.

    A copy of a block starts with none, and two blocks are equal whatever clients they have made.
    """

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()

    def get(self, make: Callable[[], Client]) -> Client:
        """The running loop's client, made now where there is none yet."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = make()
        return self._made[loop]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PerLoop)

    def __hash__(self) -> int:
        return hash(PerLoop)

    def __deepcopy__(self, memo: object) -> "PerLoop[Client]":
        return PerLoop()

    def __reduce__(self) -> tuple[type["PerLoop[Client]"], tuple[()]]:
        return PerLoop, ()


class OutsideBlock(Block):
    """Configuration of one outside system, references to its secrets, and its typed client."""

    # A validation error would otherwise print what it was given, and that may be a token.
    model_config = ConfigDict(hide_input_in_errors=True)

    reads_secrets: ClassVar[bool] = False
    """Whether it is the block through which the secrets of an environment are read."""

    _reader: Reader | None = PrivateAttr(default=None)
    """Reads the secrets that a request names: through the environment's own Secret Manager, where it has one."""

    @classmethod
    def model_json_schema(cls, *arguments: Any, **named: Any) -> dict[str, Any]:
        """As Prefect's, made once: Prefect asks for it again for each field of each block that it saves."""
        key = (cls, arguments, frozenset(named.items()))
        if key not in _SCHEMAS:
            _SCHEMAS[key] = super().model_json_schema(*arguments, **named)
        return copy.deepcopy(_SCHEMAS[key])

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth(cls, value: object, field: ValidationInfo) -> object:
        """True and false are no numbers, as in `Written`."""
        known = cls.model_fields.get(str(field.field_name))
        if isinstance(value, bool) and known is not None and not takes(known.annotation, bool):
            raise ValueError("must not be true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _names_something(cls, value: object) -> object:
        """A list of names has no empty one: what it would ask for cannot be there, or is always there."""
        if isinstance(value, tuple) and any(isinstance(one, str) and not says_something(one) for one in value):
            raise ValueError("an entry is empty; remove it, or write a name")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _is_an_address(cls, value: object, field: ValidationInfo) -> object:
        """A ``…url`` is http or https with a host, and carries no password: it is quoted in messages."""
        name = str(field.field_name)
        if not isinstance(value, str) or not name.endswith("url") or value == cls.model_fields[name].default:
            return value
        try:
            url = httpx.URL(value)
        except httpx.InvalidURL as error:
            raise ValueError(f"not a URL: {error}") from error
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise ValueError("must be http://HOST or https://HOST, without a user name or a password in it")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _binds_references(self) -> Self:
        """Secrets of the blocks in it are read through its own Secret Manager, if it names one."""
        values = [getattr(self, name) for name in type(self).model_fields]
        fields = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
        manager = next((one for one in fields if isinstance(one, OutsideBlock) and one.reads_secrets), None)
        if manager is not None:
            for block in (one for one in fields if isinstance(one, OutsideBlock)):
                block._reader = manager.value  # type: ignore[attr-defined]
                for name in type(block).model_fields:
                    if isinstance(found := getattr(block, name), SecretReference):
                        setattr(block, name, found.read_by(manager.value))  # type: ignore[attr-defined]
        return self


class GoogleBlock(OutsideBlock):
    """A block that speaks gRPC with one of Google's official clients, signed in as this worker."""

    project: str = Field(title="Project", description="Id of the Google Cloud project.")
    api_endpoint: str = Field("", title="API endpoint", description="host:port of the API. Empty: Google's own.")
    client: str = Field(
        "ethixai-playbook", title="Client name", description="How this project names itself in Google's audit log."
    )

    def _make(self, client: Callable[..., Client], endpoint: str = "") -> Client:
        """A client at ``api_endpoint``, or at ``endpoint`` where that is empty; both empty is the client's own."""
        from google.api_core.client_options import ClientOptions
        from google.api_core.gapic_v1.client_info import ClientInfo

        named = ClientInfo(user_agent=self.client)  # type: ignore[no-untyped-call]
        where = self.api_endpoint or endpoint or None
        options = ClientOptions(api_endpoint=where)
        return client(transport=google_api.bounded(client), client_options=options, client_info=named)
