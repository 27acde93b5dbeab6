"""The backend of the small world over v1, by plain HTTP."""

from dataclasses import dataclass
from typing import Any

import httpx

K = "/apis/serving.knative.dev/v1/namespaces/ethixai-production"


@dataclass
class V1:
    """A caller with a token. ``cloud`` is the same service over v2."""

    cloud: Any
    http: httpx.AsyncClient
    token: str
    path: str = f"{K}/services/ethixai-backend"

    @property
    def world(self) -> Any:
        """The world's control."""
        return self.cloud.world

    async def send(self, method: str, path: str, body: Any = None, token: str = "") -> httpx.Response:
        """One call, whatever its answer."""
        return await self.http.request(
            method, path, json=body, headers={"authorization": f"Bearer {token or self.token}"}
        )

    async def service(self) -> dict[str, Any]:
        """The service now."""
        return self._good(await self.send("GET", self.path))

    async def put(self, service: dict[str, Any]) -> dict[str, Any]:
        """The service is replaced; the answer of the PUT."""
        return self._good(await self.send("PUT", self.path, service))

    async def wait(self, written: dict[str, Any], timeout: str = "10s") -> dict[str, Any]:
        """The operation of a write once it is done, or when the time is up."""
        name = written["metadata"]["annotations"]["run.googleapis.com/operation-id"]
        path = f"/v1/projects/ethixai-production/locations/us-east1/operations/{name}:wait"
        return self._good(await self.send("POST", path, {"timeout": timeout}))

    async def done(self, written: dict[str, Any]) -> dict[str, Any]:
        """The service after its write has ended well."""
        operation = await self.wait(written)
        assert operation["done"], operation
        assert "error" not in operation, operation
        return await self.service()

    async def revisions(self) -> list[dict[str, Any]]:
        """The backend's revisions, newest first."""
        query = "labelSelector=serving.knative.dev%2Fservice%20%3D%20ethixai-backend"
        return list(self._good(await self.send("GET", f"{K}/revisions?{query}"))["items"])

    @staticmethod
    def _good(answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        return dict(answer.json())
