"""A whole rollout under a steady stream of requests: not one of them may fail because of it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from google.cloud import run_v2

CONNECTIONS, PER_SECOND = 20, 400
MAX_REQUESTS = 12_000
IN_FLIGHT = 200
"""At this pace so many take longer than the slowest request: what was in flight at a shift is answered."""
NAME = "ethixai-ai-core"


class Stream:
    """Requests at a steady pace over connections that are kept, counted by revision; raw, so that it costs little."""

    def __init__(self, url: str, path: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        self.by_revision: Counter[str] = Counter()
        self.failed: list[str] = []
        self.is_over = False

    @property
    def total(self) -> int:
        """How many were answered or failed."""
        return self.by_revision.total() + len(self.failed)

    async def _connection(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(self._host, self._port)
        every = CONNECTIONS / PER_SECOND
        due = loop.time() + every * number / CONNECTIONS
        with contextlib.closing(writer):
            while not self.is_over and self.total < MAX_REQUESTS:
                await asyncio.sleep(due - loop.time())
                due = max(due + every, loop.time())
                writer.write(self._request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                await reader.readexactly(int(headers.get("content-length", "0")))
                status = int(head.split()[1])
                if status >= 500 or "x-rehearsal-revision" not in headers:
                    self.failed.append(head)
                else:
                    self.by_revision[headers["x-rehearsal-revision"]] += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Stream"]:
        """Requests flow within the block. A connection that breaks raises at its end."""
        tasks = [asyncio.create_task(self._connection(number)) for number in range(CONNECTIONS)]
        try:
            yield self
        finally:
            self.is_over = True
            await asyncio.gather(*tasks)

    async def more(self, count: int) -> Counter[str]:
        """Wait for ``count`` requests; who answered them."""
        before, upto = Counter(self.by_revision), self.total + count
        while True:
            if self.total >= upto or self.is_over:
                return self.by_revision - before
            await asyncio.sleep(0.01)


async def test_a_whole_rollout_fails_no_request(cloud):
    """Create, v2 at 0 % with a tag, 10 %, 100 %, back, a broken v3: every request is answered by who should."""
    parent = cloud.name.partition("/services/")[0]
    name = f"{parent}/services/{NAME}"
    v1, v2, v3 = (f"{NAME}-v{i}" for i in (1, 2, 3))
    repository = cloud.REPOSITORY.replace("backend", "ai-core")

    async def image(tag: str, behaviour: str) -> str:
        return f"{repository}@{await cloud.world.publish(repository, tag, {'BEHAVIOUR': behaviour})}"

    async def put(*targets: run_v2.TrafficTarget, template: run_v2.RevisionTemplate | None = None) -> int:
        """Update and wait; the code of the operation's error, 0 for none."""
        service = run_v2.Service(name=name, traffic=targets, template=template)
        return (await cloud.update(service, "traffic", *(["template"] if template else []))).error.code

    def template(revision: str, reference: str) -> run_v2.RevisionTemplate:
        return run_v2.RevisionTemplate(revision=revision, containers=[{"image": reference}])

    first = run_v2.Service(template=template(v1, await image("one", "healthy")))
    request = {"parent": parent, "service": first, "service_id": NAME}
    await cloud.ended((await cloud.services.create_service(request=request)).operation)
    url = (await cloud.services.get_service(name=name)).uri

    async with Stream(url, "/nowhere").running() as stream:
        assert set(await stream.more(200)) == {v1}
        # Slow ones are in flight whenever v2 loses its traffic.
        slow = template(v2, await image("two", "slow=0.2@0.2"))
        assert await put(cloud.target(v1, 100), cloud.target(v2, 0, "canary"), template=slow) == 0
        assert set(await stream.more(200)) == {v1}
        assert await put(cloud.target(v1, 90), cloud.target(v2, 10, "canary")) == 0
        shares = await stream.more(1000)
        assert 50 <= shares[v2] <= 150
        assert await put(cloud.target(v2, 100)) == 0
        await stream.more(IN_FLIGHT)
        assert set(await stream.more(200)) == {v2}
        assert await put(cloud.target(v1, 100)) == 0
        await stream.more(IN_FLIGHT)
        assert set(await stream.more(200)) == {v1}
        broken = template(v3, await image("three", "dies"))
        assert await put(cloud.target(v1, 100), cloud.target(v3, 0, "canary"), template=broken) == 9
        assert set(await stream.more(200)) == {v1}
    assert stream.failed == []
    assert stream.by_revision[v3] == 0


async def test_shifting_back_and_forth_fails_no_request(cloud):
    """Ten shifts between two revisions that retire in turn, each started again as it is needed."""
    await cloud.deploy(v2 := "ethixai-backend-v2")
    async with Stream((await cloud.get()).uri, "/nowhere").running() as stream:
        for _ in range(5):
            await cloud.shift(cloud.target(v2, 100))
            await cloud.shift(cloud.target(cloud.STABLE, 100))
        await stream.more(100)
    assert stream.failed == []
    assert set(stream.by_revision) == {cloud.STABLE, v2}
