"""Cloud Logging v2 over gRPC: entries are written by instances, by the platform and by clients, and read by filter."""

import asyncio
import base64
import collections
import datetime
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import monitored_resource_pb2
from google.cloud.logging_v2.types import ListLogEntriesRequest as _ListRequest
from google.cloud.logging_v2.types import ListLogEntriesResponse as _ListResponse
from google.cloud.logging_v2.types import LogEntry as _LogEntry
from google.cloud.logging_v2.types import TailLogEntriesRequest as _TailRequest
from google.cloud.logging_v2.types import TailLogEntriesResponse as _TailResponse
from google.cloud.logging_v2.types import WriteLogEntriesRequest as _WriteRequest
from google.cloud.logging_v2.types import WriteLogEntriesResponse as _WriteResponse
from google.protobuf import json_format

from rehearsal.world.instances import Line
from rehearsal.world.log_filter import SEVERITIES, Entry, FilterError, Predicate, parse
from rehearsal.world.rpc import Call, Method, invalid

LogEntry, ListRequest, ListResponse = _LogEntry.pb(), _ListRequest.pb(), _ListResponse.pb()
TailRequest, TailResponse = _TailRequest.pb(), _TailResponse.pb()
WriteRequest, WriteResponse = _WriteRequest.pb(), _WriteResponse.pb()

SERVICE = "google.logging.v2.LoggingServiceV2"
KEPT = 100_000
DEFAULT_PAGE, MAX_PAGE = 50, 1000
TAIL_POLL_S = 0.2


@dataclass(frozen=True)
class Source:
    """The revision a line comes from: the labels of a ``cloud_run_revision``."""

    project: str
    location: str
    service: str
    revision: str

    @property
    def labels(self) -> dict[str, str]:
        """The monitored resource's labels."""
        return {
            "project_id": self.project,
            "location": self.location,
            "service_name": self.service,
            "configuration_name": self.service,
            "revision_name": self.revision,
        }


class CloudLogging:
    """The log of a world, newest `KEPT` entries. ``ingestion_delay_s``: entries are found that much later."""

    def __init__(self) -> None:
        self.ingestion_delay_s = 0.0
        self._seq = itertools.count(1)
        self._entries: collections.deque[tuple[Entry, Any]] = collections.deque(maxlen=KEPT)

    def methods(self) -> list[Method]:
        """What the gRPC service answers."""
        return [
            Method("ListLogEntries", ListRequest, self.list_log_entries, _names),
            Method("WriteLogEntries", WriteRequest, self.write_log_entries, lambda r: r.log_name),
            Method("TailLogEntries", TailRequest, self.tail_log_entries, _names, streams=True),
        ]

    def clear(self) -> None:
        """Forget every entry."""
        self._entries.clear()

    def line(self, source: Source, instance_id: str, line: Line) -> None:
        """One line of an instance, or of the platform about it, is in the log."""
        log = f"projects/{source.project}/logs/run.googleapis.com%2F{line.log.replace('/', '%2F')}"
        entry = LogEntry(log_name=log, severity=SEVERITIES.get(line.severity, 0), labels={"instanceId": instance_id})
        entry.resource.CopyFrom(
            monitored_resource_pb2.MonitoredResource(type="cloud_run_revision", labels=source.labels)
        )
        if isinstance(line.payload, str):
            entry.text_payload = line.payload
        else:
            entry.json_payload.update(line.payload)
        self._keep(entry)

    async def write_log_entries(self, request: Any, call: Call) -> Any:
        """Keep the entries, with the request's log name, resource and labels where they have none."""
        for sent in request.entries:
            entry = LogEntry()
            entry.CopyFrom(sent)
            entry.log_name = entry.log_name or request.log_name
            if not entry.log_name:
                raise invalid("WriteLogEntriesRequest.entries.log_name", "must be given")
            if not entry.HasField("resource"):
                entry.resource.CopyFrom(request.resource)
            for key, value in request.labels.items():
                entry.labels.setdefault(key, value)
            if not request.dry_run:
                self._keep(entry)
        return WriteResponse()

    async def tail_log_entries(self, request: Any, call: Call) -> AsyncIterator[Any]:
        """The entries that the filter lets through, from now on, until the caller goes away."""
        listing = ListRequest(resource_names=request.resource_names, filter=request.filter)
        projects, predicate, _, _ = _read(listing)
        last = self._entries[-1][0].seq if self._entries else 0
        while True:
            await asyncio.sleep(TAIL_POLL_S)
            visible = self._visible_until()
            arrived = [
                pair for pair in self._since(last) if pair[1].receive_timestamp.ToDatetime(datetime.UTC) <= visible
            ]
            if not arrived:
                continue
            last = arrived[0][0].seq
            found = [
                message for entry, message in arrived[::-1] if entry.log_name.startswith(projects) and predicate(entry)
            ]
            if found:
                yield TailResponse(entries=found)

    def _since(self, seq: int) -> list[tuple[Entry, Any]]:
        """The entries after ``seq``, newest first."""
        return list(itertools.takewhile(lambda pair: pair[0].seq > seq, reversed(self._entries)))

    def _visible_until(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self.ingestion_delay_s)

    def _keep(self, entry: Any) -> None:
        seq, now = next(self._seq), datetime.datetime.now(datetime.UTC)
        entry.receive_timestamp.FromDatetime(now)
        if not entry.HasField("timestamp"):
            entry.timestamp.FromDatetime(now)
        entry.insert_id = entry.insert_id or f"r{seq:012d}"
        self._entries.append((_seen(seq, entry), entry))

    async def list_log_entries(self, request: Any, call: Call) -> Any:
        """The entries of the projects that the filter lets through, a page at a time."""
        projects, predicate, size, newest_first = _read(request)
        after = _position(request)
        visible = self._visible_until()
        found = [
            (entry, message)
            for entry, message in list(self._entries)
            if entry.log_name.startswith(projects)
            and message.receive_timestamp.ToDatetime(datetime.UTC) <= visible
            and predicate(entry)
        ]
        found.sort(key=lambda pair: _key(pair[0]), reverse=newest_first)
        if after:
            found = [pair for pair in found if (_key(pair[0]) < after if newest_first else _key(pair[0]) > after)]
        response = ListResponse(entries=[message for _, message in found[:size]])
        if len(found) > size:
            response.next_page_token = _token(request, _key(found[size - 1][0]))
        return response


def _names(request: Any) -> str:
    return ",".join(request.resource_names)


def _key(entry: Entry) -> tuple[float, int]:
    return (entry.timestamp.timestamp(), entry.seq)


def _read(request: Any) -> tuple[tuple[str, ...], Predicate, int, bool]:
    """(log name prefixes, filter, page size, newest first). Raises RefusalError (INVALID_ARGUMENT)."""
    names, size, order = list(request.resource_names), request.page_size, request.order_by
    if not names or any(not name.startswith("projects/") or name.count("/") != 1 for name in names):
        raise invalid("ListLogEntriesRequest.resource_names", "one or more of the form projects/PROJECT are needed")
    if size < 0:
        raise invalid("ListLogEntriesRequest.page_size", f"must not be negative, is {size}")
    if order not in ("", "timestamp asc", "timestamp desc"):
        raise invalid("ListLogEntriesRequest.order_by", f"{order!r} is not known: timestamp asc or timestamp desc")
    try:
        predicate = parse(request.filter)
    except FilterError as error:
        raise invalid("ListLogEntriesRequest.filter", str(error)) from error
    return tuple(f"{name}/" for name in names), predicate, min(size or DEFAULT_PAGE, MAX_PAGE), order.endswith("desc")


def _question(request: Any) -> list[str]:
    return [*request.resource_names, request.filter, request.order_by]


def _token(request: Any, key: tuple[float, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([*key, _question(request)]).encode()).decode()


def _position(request: Any) -> tuple[float, int] | None:
    """Where the previous page ended. Raises RefusalError when the token belongs to another request."""
    token = request.page_token
    if not token:
        return None
    try:
        at, seq, question = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise invalid("ListLogEntriesRequest.page_token", "is not a token of this server") from error
    if question != _question(request):
        raise invalid("ListLogEntriesRequest.page_token", "belongs to a request with other parameters")
    return (at, seq)


def _seen(seq: int, entry: Any) -> Entry:
    payload: Mapping[str, object] | None = None
    if entry.HasField("json_payload"):
        payload = json_format.MessageToDict(entry.json_payload)
    return Entry(
        seq=seq,
        log_name=entry.log_name,
        timestamp=entry.timestamp.ToDatetime(datetime.UTC),
        severity=entry.severity,
        resource_type=entry.resource.type,
        insert_id=entry.insert_id,
        text=entry.text_payload if entry.HasField("text_payload") else None,
        json=payload,
        labels=dict(entry.labels),
        resource_labels=dict(entry.resource.labels),
    )
