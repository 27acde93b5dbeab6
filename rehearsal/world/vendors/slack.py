"""Slack's Web API: ``chat.postMessage`` and ``conversations.history``. An error is HTTP 200 with ``ok: false``."""

import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from rehearsal.world.vendors.vendor import Json, Refused, Said, Vendor, bearer, is_wrong, json_object, may_only_read

CHANNELS = {"C0RELEASES": "releases", "C0INCIDENTS": "incident-response", "C0PLATFORM": "platform-engineering"}
"""Channels the app was invited to: id and name."""
TEXT_CHARS, BLOCKS, HISTORY_DEFAULT, HISTORY_MAX = 40_000, 50, 100, 999
BOT = {"type": "message", "subtype": "bot_message", "bot_id": "B0PLAYBOOK", "app_id": "A0PLAYBOOK", "team": "T0ETHIXAI"}
ERRORS = {401: "invalid_auth", 403: "missing_scope", 404: "channel_not_found", 429: "ratelimited"}


class Slack(Vendor):
    """One workspace with `CHANNELS` and one app in it."""

    name = "slack"

    def __init__(self, said: Said) -> None:
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """Every channel is empty."""
        self._messages: dict[str, list[Json]] = {channel: [] for channel in CHANNELS}
        self._last_ts = 0

    def routes(self) -> Sequence[BaseRoute]:
        """Two methods, and an incoming webhook for each channel: ``/hooks/T0ETHIXAI/CHANNEL``."""
        return [
            Route("/hooks/T0ETHIXAI/{channel}", self._hook, methods=["POST"]),
            Route("/api/chat.postMessage", self._post, methods=["POST"]),
            Route("/api/conversations.history", self._history, methods=["GET", "POST"]),
        ]

    def error(self, status: int, message: str) -> Json:
        """An error in Slack's format: one word."""
        return {"ok": False, "error": message or ERRORS.get(status, "internal_error")}

    async def _post(self, request: Request) -> Response:
        token = _token(request)
        if may_only_read(token):
            raise Refused(200, {**self.error(403, ""), "needed": "chat:write", "provided": "channels:history"})
        said = await _arguments(request)
        channel = _channel(said)
        self._check(said)
        kept = {key: said[key] for key in ("text", "blocks", "attachments", "metadata", "thread_ts") if said.get(key)}
        message = {**BOT, "text": "", **kept, "ts": self._next_ts()}
        self._messages[channel].append(message)
        self.keep(request, said)
        return JSONResponse({"ok": True, "channel": channel, "ts": message["ts"], "message": message})

    async def _hook(self, request: Request) -> Response:
        """Slack answers a webhook in plain text."""
        channel = request.path_params["channel"]
        if channel not in CHANNELS:
            return PlainTextResponse("no_service", 404)
        said = await json_object(request, Refused(400, self.error(400, "invalid_payload")))
        if not said.get("text"):
            return PlainTextResponse("no_text", 400)
        message = {**BOT, "text": said["text"], "ts": self._next_ts()}
        self._messages[channel].append(message)
        self.keep(request, {**said, "channel": channel})
        return PlainTextResponse("ok")

    async def _history(self, request: Request) -> Response:
        """Newest first. Metadata is left out unless ``include_all_metadata`` is asked for."""
        _token(request)
        asked = dict(request.query_params) if request.method == "GET" else await _arguments(request)
        channel = _channel(asked)
        try:
            limit = int(asked.get("limit") or HISTORY_DEFAULT)
        except ValueError:
            raise Refused(200, self.error(200, "invalid_limit")) from None
        if not 1 <= limit <= HISTORY_MAX:
            raise Refused(200, self.error(200, "invalid_limit"))
        if asked.get("cursor"):
            raise Refused(501, self.error(501, "not taught: cursor"))
        oldest, latest = float(asked.get("oldest") or 0), float(asked.get("latest") or "inf")
        found = [one for one in reversed(self._messages[channel]) if oldest < float(one["ts"]) < latest]
        hidden = set() if _is_true(asked.get("include_all_metadata")) else {"metadata"}
        shown = [{key: value for key, value in one.items() if key not in hidden} for one in found[:limit]]
        return JSONResponse({"ok": True, "messages": shown, "has_more": len(found) > limit, "pin_count": 0})

    def _check(self, said: Json) -> None:
        """Raises Refused as chat.postMessage does."""
        if not (said.get("text") or said.get("blocks") or said.get("attachments")):
            raise Refused(200, self.error(200, "no_text"))
        if len(said.get("text") or "") > TEXT_CHARS:
            raise Refused(200, self.error(200, "msg_too_long"))
        blocks = said.get("blocks") or []
        if not isinstance(blocks, list) or len(blocks) > BLOCKS or not all(_has_type(block) for block in blocks):
            raise Refused(200, self.error(200, "invalid_blocks"))
        metadata = said.get("metadata")
        if metadata and not (
            isinstance(metadata, dict)
            and metadata.get("event_type")
            and isinstance(metadata.get("event_payload"), dict)
        ):
            raise Refused(200, self.error(200, "invalid_metadata_format"))

    def _next_ts(self) -> str:
        """Unix seconds with six decimals, which Slack uses as the message's id: no two are the same."""
        self._last_ts = max(self._last_ts + 1, time.time_ns() // 1000)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


def _token(request: Request) -> str:
    token = bearer(request.headers)
    if not token:
        raise Refused(200, {"ok": False, "error": "not_authed"})
    if is_wrong(token):
        raise Refused(200, {"ok": False, "error": "invalid_auth"})
    return token


async def _arguments(request: Request) -> Json:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refused(501, {"ok": False, "error": "not taught: arguments as a form"})
    return await json_object(request, Refused(200, {"ok": False, "error": "invalid_json"}))


def _channel(asked: Json) -> str:
    """The id of the channel that is asked for by its id or its name."""
    wanted = str(asked.get("channel") or "").removeprefix("#")
    for channel, name in CHANNELS.items():
        if wanted in (channel, name):
            return channel
    raise Refused(200, {"ok": False, "error": "channel_not_found"})


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "1")


def _has_type(block: object) -> bool:
    return isinstance(block, dict) and bool(block.get("type"))
