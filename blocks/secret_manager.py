"""Secret Manager: whether the secrets of an environment are there and will last."""

import contextlib
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, HttpUrl, PrivateAttr, SecretStr

from blocks.base import GoogleBlock, PerLoop
from blocks.google_api import calling
from playbook.checklist.checks import SecretState
from playbook.errors import Refused

if TYPE_CHECKING:
    from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient

CLIENT = "google.cloud.secretmanager_v1"


class SecretManager(GoogleBlock):
    """The Secret Manager of one project (secretmanager.viewer). A release reads only what is said about them."""

    _block_type_name: ClassVar[str | None] = "EthixAI Secret Manager"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://cloud.google.com/secret-manager/docs/reference/rpc")

    reads_secrets: ClassVar[bool] = True

    names: tuple[str, ...] = Field(
        (), title="Secrets", description="Secrets that a release looks at before it starts, by id."
    )
    timeout_s: float = Field(10, gt=0, title="Timeout", description="Seconds that one call may take.")
    _secrets: PerLoop["SecretManagerServiceAsyncClient"] = PrivateAttr(default_factory=PerLoop)

    async def state(self, name: str) -> SecretState:
        """What is known of the secret ``name`` and its newest version. One or two calls. Raises: Transient, Refused.

        ``name`` may be a full one, ``projects/P/secrets/S``, and name a version: ``S/versions/3``.
        """
        from google.api_core.exceptions import NotFound

        secret_name, _, number = name.partition("/versions/")
        full = secret_name if secret_name.startswith("projects/") else f"projects/{self.project}/secrets/{secret_name}"
        asked = f"Secret Manager, asked about {full}"
        async with calling(CLIENT, asked, "secretmanager.secrets.get and secretmanager.versions.get"):
            from google.cloud.secretmanager_v1 import SecretVersion

            try:
                secret = await self._client().get_secret(name=full, retry=None, timeout=self.timeout_s)
            except NotFound:
                return SecretState(name=name, exists=False, is_enabled=False)
            expires_at_s = secret.expire_time.timestamp() if secret.expire_time else None
            try:
                version = await self._client().get_secret_version(
                    name=f"{full}/versions/{number or 'latest'}", retry=None, timeout=self.timeout_s
                )
            except NotFound:
                return SecretState(name=name, exists=True, is_enabled=False, expires_at_s=expires_at_s)
        is_enabled = version.state == SecretVersion.State.ENABLED
        return SecretState(name=name, exists=True, is_enabled=is_enabled, expires_at_s=expires_at_s)

    async def value(self, version: str) -> SecretStr:
        """The secret ``projects/P/secrets/S/versions/V`` itself, for an environment file that refers to it.

        One call; it needs secretmanager.versions.access. Raises: Transient, Refused.
        """
        asked = f"Secret Manager, asked for {version}"
        async with calling(CLIENT, asked, "secretmanager.versions.access"):
            found = await self._client().access_secret_version(name=version, retry=None, timeout=self.timeout_s)
            data = found.payload.data  # an answer that is no message comes as None
        try:
            return SecretStr(data.decode("ascii"))
        except UnicodeDecodeError as error:
            # The error holds the bytes it failed on.
            raise Refused(f"{asked}: it is not text. Store a token as one line of ASCII.") from UnicodeError(
                error.reason
            )

    async def holds(self, name: str, value: SecretStr) -> bool:
        """Whether the secret's newest version is ``value``. One call; False where it has none, or may only be written.

        Raises: Transient.
        """
        with contextlib.suppress(Refused):
            newest = await self.value(f"projects/{self.project}/secrets/{name}/versions/latest")
            return newest.get_secret_value() == value.get_secret_value()
        return False

    async def put(self, name: str, value: SecretStr) -> None:
        """The newest version of the secret is ``value``. Two calls; none is added where it is so already.

        It needs secretmanager.versions.add and .access. Raises: Transient, Refused.
        """
        if await self.holds(name, value):
            return
        parent = f"projects/{self.project}/secrets/{name}"
        async with calling(
            CLIENT, f"Secret Manager, asked for a new version of {parent}", "secretmanager.versions.add"
        ):
            await self._client().add_secret_version(
                request={"parent": parent, "payload": {"data": value.get_secret_value().encode()}},
                retry=None,
                timeout=self.timeout_s,
            )

    def _client(self) -> "SecretManagerServiceAsyncClient":
        from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient

        return self._secrets.get(lambda: self._make(SecretManagerServiceAsyncClient))
