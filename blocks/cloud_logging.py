"""Cloud Logging: the errors that a revision logged."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, HttpUrl, PrivateAttr

from blocks.base import GoogleBlock, PerLoop
from blocks.google_api import calling
from blocks.secret_reference import known_values
from playbook.incident.logs import LogLine
from playbook.text import LINE_MAX, clean, mask

if TYPE_CHECKING:
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient
    from google.cloud.logging_v2.types import LogEntry

CLIENT = "google.cloud.logging_v2.services.logging_service_v2"

OUT_OF_MEMORY = "Memory limit of"
"""How Cloud Run begins to say that it killed an instance: "Memory limit of 512 MiB exceeded with 517 MiB used"."""

PAGE_MAX = 1000

SEVERITIES = {
    0: "DEFAULT",
    100: "DEBUG",
    200: "INFO",
    300: "NOTICE",
    400: "WARNING",
    500: "ERROR",
    600: "CRITICAL",
    700: "ALERT",
    800: "EMERGENCY",
}


class CloudLogging(GoogleBlock):
    """The logs of one project's Cloud Run services (logging.viewer). Google allows about 60 calls a minute."""

    _block_type_name: ClassVar[str | None] = "EthixAI Cloud Logging"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://cloud.google.com/logging/docs/reference/v2/rpc")

    timeout_s: float = Field(10, gt=0, title="Timeout", description="Seconds that one question may take, all pages.")
    _logging: PerLoop["LoggingServiceV2AsyncClient"] = PrivateAttr(default_factory=PerLoop)

    async def errors(self, service: str, revision: str, since_s: float, limit: int = 20) -> tuple[LogLine, ...]:
        """The newest ``limit`` lines of severity ERROR or worse since ``since_s`` (unix seconds), oldest first.

        A line arrives some tens of seconds late: ask again from the same ``since_s`` and drop what was seen, by
        ``insert_id``. An empty answer is no proof of health. Raises: Transient, Refused.
        """
        return await self._lines(_of(service, revision, since_s) + " AND severity>=ERROR", limit)

    async def oom_kills(self, service: str, revision: str, since_s: float) -> int:
        """How many instances Cloud Run killed for want of memory since ``since_s`` (unix seconds); 1000 at most.

        Raises: Transient, Refused.
        """
        line = f' AND textPayload:{quoted(OUT_OF_MEMORY)} AND textPayload:"exceeded"'
        return len(await self._lines(_of(service, revision, since_s) + line, PAGE_MAX))

    async def _lines(self, query: str, limit: int) -> tuple[LogLine, ...]:
        request = {
            "resource_names": [f"projects/{self.project}"],
            "filter": query,
            "order_by": "timestamp desc",
            "page_size": min(limit, PAGE_MAX),
        }
        found: dict[tuple[str, float], LogLine] = {}
        async with calling(CLIENT, f"Cloud Logging of {self.project}, asked {query}", "logging.logEntries.list"):
            async with asyncio.timeout(self.timeout_s):
                pages = await self._client().list_log_entries(request=request, retry=None, timeout=self.timeout_s)
                # A page may be empty and still have a next one; the whole is bounded by the timeout.
                async for entry in pages:
                    line = line_of(entry)
                    found.setdefault((line.insert_id, line.at_s), line)
                    if len(found) == limit:
                        break
        return tuple(sorted(found.values(), key=lambda line: line.at_s))

    def _client(self) -> "LoggingServiceV2AsyncClient":
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient

        return self._logging.get(lambda: self._make(LoggingServiceV2AsyncClient))


def _of(service: str, revision: str, since_s: float) -> str:
    """The filter for one revision's lines. It always has its own timestamp: without one Google reads a day."""
    since = datetime.fromtimestamp(since_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        'resource.type="cloud_run_revision"'
        f" AND resource.labels.service_name={quoted(service)}"
        f" AND resource.labels.revision_name={quoted(revision)}"
        f' AND timestamp>="{since}"'
    )


def quoted(text: str) -> str:
    """``text`` as one string of the logging query language, whatever it holds."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def line_of(entry: "LogEntry") -> LogLine:
    """One entry as a line: its text, the message of its JSON, or the request it tells of."""
    text = entry.text_payload
    if not text and entry.json_payload:
        text = str(entry.json_payload.get("message", "")) or str(dict(entry.json_payload))  # at most one entry's 256 kB
    if not text and entry.http_request.request_url:
        request = entry.http_request
        text = f"{request.request_method} {request.request_url} answered {request.status}"
    return LogLine(
        at_s=entry.timestamp.timestamp() if entry.timestamp else 0.0,
        severity=SEVERITIES.get(entry.severity, str(entry.severity)),
        text=mask(clean(text, LINE_MAX), known_values()),
        insert_id=entry.insert_id,
    )
