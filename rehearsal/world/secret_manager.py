"""Secret Manager v1 over gRPC: secrets that exist, their versions, and adding one."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from google.cloud import secretmanager_v1

from rehearsal.world.cloud_run.operations import paged
from rehearsal.world.rpc import Call, Code, Method, RefusalError, invalid

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
DEFAULT_PAGE = 100
MAX_BYTES = 65_536
Secret: Any = secretmanager_v1.Secret.pb()
SecretVersion: Any = secretmanager_v1.SecretVersion.pb()
State: Any = secretmanager_v1.SecretVersion.State


@dataclass
class _Version:
    message: Any
    payload: bytes


@dataclass
class _Stored:
    message: Any
    versions: list[_Version] = field(default_factory=list)


class SecretManager:
    """The secrets of a world. `put` makes one; over gRPC a secret can be read and given new versions."""

    def __init__(self) -> None:
        self._secrets: dict[str, _Stored] = {}

    def methods(self) -> list[Method]:
        """What the gRPC service answers. Creating, changing and deleting secrets are not implemented."""
        v1, name = secretmanager_v1, lambda r: r.name
        return [
            Method("GetSecret", v1.GetSecretRequest.pb(), self.get_secret, name),
            Method("GetSecretVersion", v1.GetSecretVersionRequest.pb(), self.get_version, name),
            Method("AccessSecretVersion", v1.AccessSecretVersionRequest.pb(), self.access, name),
            Method("ListSecretVersions", v1.ListSecretVersionsRequest.pb(), self.list_versions, lambda r: r.parent),
            Method("AddSecretVersion", v1.AddSecretVersionRequest.pb(), self.add, lambda r: r.parent, writes=True),
        ]

    def clear(self) -> None:
        """Delete all secrets."""
        self._secrets.clear()

    def put(
        self, project: str, secret: str, value: str, *, expires_at: float | None = None, state: str = "ENABLED"
    ) -> str:
        """The secret exists and ``value`` is its newest version, in ``state`` (ENABLED, DISABLED, DESTROYED).

        ``expires_at`` is unix seconds. Returns the version's full name.
        """
        name = f"projects/{project}/secrets/{secret}"
        if name not in self._secrets:
            self._secrets[name] = _Stored(Secret(name=name))
            self._secrets[name].message.replication.automatic.SetInParent()
            self._secrets[name].message.create_time.GetCurrentTime()
        if expires_at is not None:
            self._secrets[name].message.expire_time.FromDatetime(
                datetime.datetime.fromtimestamp(expires_at, datetime.UTC)
            )
        return str(self._append(self._secrets[name], value.encode(), State[state]).name)

    def _append(self, stored: _Stored, payload: bytes, state: int) -> Any:
        number = len(stored.versions) + 1
        message = SecretVersion(name=f"{stored.message.name}/versions/{number}", state=state)
        message.create_time.GetCurrentTime()
        stored.versions.append(_Version(message, payload))
        return message

    def _secret(self, name: str) -> _Stored:
        if name not in self._secrets:
            raise RefusalError(Code.NOT_FOUND, f"Secret [{name}] not found.")
        return self._secrets[name]

    def _version(self, name: str) -> _Version:
        """The version of that name; ``latest`` is the newest. Raises RefusalError (NOT_FOUND)."""
        parent, _, number = name.partition("/versions/")
        versions = self._secret(parent).versions
        index = len(versions) if number == "latest" else int(number) if number.isdigit() else 0
        if not 1 <= index <= len(versions):
            raise RefusalError(Code.NOT_FOUND, f"Secret Version [{name}] not found.")
        return versions[index - 1]

    async def get_secret(self, request: Any, call: Call) -> Any:
        """The secret's metadata."""
        return self._secret(request.name).message

    async def get_version(self, request: Any, call: Call) -> Any:
        """The version's metadata: when it was made, and whether it is enabled."""
        return self._version(request.name).message

    async def access(self, request: Any, call: Call) -> Any:
        """The version's bytes, unless it is disabled or destroyed."""
        version = self._version(request.name)
        if version.message.state != State.ENABLED:
            state = State(version.message.state).name
            raise RefusalError(
                Code.FAILED_PRECONDITION, f"Secret Version [{version.message.name}] is in {state} state."
            )
        response = secretmanager_v1.AccessSecretVersionResponse.pb()(name=version.message.name)
        response.payload.data = version.payload
        response.payload.data_crc32c = crc32c(version.payload)
        return response

    async def list_versions(self, request: Any, call: Call) -> Any:
        """The versions, newest first. Filters are not implemented."""
        if request.filter:
            raise RefusalError(Code.UNIMPLEMENTED, "ListSecretVersionsRequest.filter is not taught")
        messages = [version.message for version in self._secret(request.parent).versions[::-1]]
        page, token = paged(messages, request.page_size or DEFAULT_PAGE, request.page_token)
        return secretmanager_v1.ListSecretVersionsResponse.pb()(
            versions=page, next_page_token=token, total_size=len(messages)
        )

    async def add(self, request: Any, call: Call) -> Any:
        """A new version, enabled."""
        stored, payload = self._secret(request.parent), request.payload
        if len(payload.data) > MAX_BYTES:
            raise invalid("AddSecretVersionRequest.payload.data", f"has more than {MAX_BYTES} bytes")
        if payload.HasField("data_crc32c") and payload.data_crc32c != crc32c(payload.data):
            raise invalid("AddSecretVersionRequest.payload.data_crc32c", "is not the checksum of the data")
        call.write.applied, call.write.result = True, "OK"
        return self._append(stored, payload.data, State.ENABLED)


def crc32c(payload: bytes) -> int:
    """CRC-32C (Castagnoli), by which clients check what they got."""
    crc = 0xFFFFFFFF
    for byte in payload:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
