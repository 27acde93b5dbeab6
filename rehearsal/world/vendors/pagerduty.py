"""PagerDuty: Events API v2 at ``/v2/enqueue``, and of the REST API v2 (``/api``) on-calls and incidents.

PagerDuty serves the two APIs on different hosts; here the second is a path of the first.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from rehearsal.world.vendors.vendor import (
    Json,
    Refused,
    Said,
    Vendor,
    is_wrong,
    json_object,
    may_only_read,
    stamp,
)

SEVERITIES = ("critical", "error", "warning", "info")
ACTIONS = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}
ROUTING_KEY_CHARS, DEDUP_KEY_CHARS, SUMMARY_CHARS = 32, 255, 1024
POLICY = "PABC123"
ON_CALL = (("PUSER01", "Release Engineer", 1), ("PUSER02", "Backend Lead", 2))
"""Who is on call for `POLICY`: id, name, escalation level."""
ERRORS = {
    400: ("Invalid Input Provided", 2001),
    401: ("Authorization failed", 2006),
    403: ("Access Denied", 2010),
    404: ("Not Found", 2100),
    429: ("Rate Limit Exceeded", 2020),
}


class PagerDuty(Vendor):
    """One account with one service, whose escalation policy is `POLICY`."""

    name = "pagerduty"

    def __init__(self, said: Said) -> None:
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """Forget all incidents; `ON_CALL` are on call without an end."""
        self._incidents: list[Json] = []
        self._shifts: list[tuple[str, int, float | None, float | None]] = [
            (name, level, None, None) for _, name, level in ON_CALL
        ]

    def resolve_all(self) -> None:
        """A person resolves every incident in PagerDuty's own UI."""
        for one in self._incidents:
            one["status"] = "resolved"

    def on_call(self, *shifts: tuple[str, int, float | None, float | None]) -> None:
        """Who is on call: name, escalation level, from and until (unix seconds; None: without an end)."""
        self._shifts = list(shifts)

    def routes(self) -> Sequence[BaseRoute]:
        """The Events API and a part of the REST API."""
        rest = [
            Route("/oncalls", self._oncalls, methods=["GET"]),
            Route("/incidents", self._list, methods=["GET"]),
            Route("/incidents", self._create, methods=["POST"]),
            Route("/incidents/{id}", self._get, methods=["GET"]),
        ]
        return [Route("/v2/enqueue", self._enqueue, methods=["POST"]), Mount("/api", routes=rest)]

    def error(self, status: int, message: str) -> Json:
        """An error in the REST API's format. The Events API builds its own."""
        words, code = ERRORS.get(status, ("Internal Server Error", 2000))
        return {"error": {"message": message or words, "code": code, "errors": [message] if message else []}}

    async def _enqueue(self, request: Request) -> Response:
        event = await json_object(request, _invalid("JSON parse error"))
        if problems := _problems(event):
            raise _invalid(*problems)
        key = event.get("dedup_key") or uuid.uuid4().hex
        action, known = event["event_action"], self._unresolved(key)
        if action == "trigger" and known is None:
            self._open(key, event["payload"]["summary"], event["payload"]["severity"])
        elif action != "trigger" and known is not None:
            known["status"] = ACTIONS[action]
        self.keep(request, event)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)

    async def _oncalls(self, request: Request) -> Response:
        self._check_token(request)
        wanted = request.query_params.getlist("escalation_policy_ids[]")
        policy = _reference("escalation_policy", POLICY, "EthixAI releases")
        since, until = (_instant(request, name) for name in ("since", "until"))
        found: list[Json] = [
            {
                "user": _reference("user", f"PUSER{number:02d}", who),
                "schedule": None,
                "escalation_policy": policy,
                "escalation_level": level,
                "start": None if start is None else stamp(start),
                "end": None if end is None else stamp(end),
            }
            for number, (who, level, start, end) in enumerate(self._shifts, start=1)
            if (not wanted or POLICY in wanted)
            and (until is None or start is None or start < until)
            and (since is None or end is None or end > since)
        ]
        limit, offset = (
            int(request.query_params.get(name, default)) for name, default in (("limit", "25"), ("offset", "0"))
        )
        page = {"limit": limit, "offset": offset, "more": len(found) > offset + limit, "total": None}
        return JSONResponse({"oncalls": found[offset : offset + limit], **page})

    async def _list(self, request: Request) -> Response:
        self._check_token(request)
        statuses = request.query_params.getlist("statuses[]")
        key = request.query_params.get("incident_key")
        found = [
            one
            for one in self._incidents
            if (not statuses or one["status"] in statuses) and key in (None, one["incident_key"])
        ]
        return JSONResponse({"incidents": found, **_page(request, len(found))})

    async def _get(self, request: Request) -> Response:
        self._check_token(request)
        found = next((one for one in self._incidents if one["id"] == request.path_params["id"]), None)
        if found is None:
            raise Refused(404, self.error(404, ""))
        return JSONResponse({"incident": found})

    async def _create(self, request: Request) -> Response:
        self._check_token(request)
        if "@" not in request.headers.get("from", ""):
            raise Refused(400, self.error(400, "From header must be the email address of a user"))
        body = await json_object(request, Refused(400, self.error(400, "the body must be JSON")))
        incident = body.get("incident")
        if not isinstance(incident, dict):
            raise Refused(400, self.error(400, "Incident cannot be empty"))
        if wrong := [name for name in ("type", "title", "service") if not incident.get(name)]:
            raise Refused(400, self.error(400, f"{', '.join(wrong)} cannot be empty"))
        key = incident.get("incident_key") or uuid.uuid4().hex
        if self._unresolved(key):
            words = "Open incident with matching dedup key already exists on this service"
            raise Refused(400, {"error": {"message": "Arguments Caused Error", "code": 2002, "errors": [words]}})
        opened = self._open(key, incident["title"], incident.get("urgency") or "high")
        self.keep(request, body)
        return JSONResponse({"incident": opened}, 201)

    def _unresolved(self, key: str) -> Json | None:
        """The open incident with this key, which every further trigger joins."""
        return next(
            (one for one in self._incidents if one["incident_key"] == key and one["status"] != "resolved"), None
        )

    def _open(self, key: str, title: str, urgency: str) -> Json:
        number = len(self._incidents) + 1
        opened = {
            **_reference("incident", f"Q{number:06d}", f"[#{number}] {title}"),
            "type": "incident",
            "incident_number": number,
            "title": title,
            "incident_key": key,
            "status": "triggered",
            "urgency": "high" if urgency in ("critical", "error", "high") else "low",
            "created_at": stamp(),
            "service": _reference("service", "PSERVICE", "EthixAI production"),
            "escalation_policy": _reference("escalation_policy", POLICY, "EthixAI releases"),
        }
        self._incidents.append(opened)
        return opened

    def _check_token(self, request: Request) -> None:
        """Raises Refused as the REST API does."""
        scheme, _, token = request.headers.get("authorization", "").partition(" token=")
        if scheme != "Token" or not token or is_wrong(token):
            raise Refused(401, self.error(401, ""))
        if may_only_read(token) and request.method != "GET":
            raise Refused(403, self.error(403, ""))


def _problems(event: Json) -> list[str]:
    """What is wrong with an event, in the order of its fields."""
    found = []
    if len(str(event.get("routing_key") or "")) != ROUTING_KEY_CHARS:
        found.append(f"Length of 'routing_key' is incorrect (should be {ROUTING_KEY_CHARS} characters)")
    action, key = event.get("event_action"), str(event.get("dedup_key") or "")
    if action not in ACTIONS:
        found.append(f"'event_action' is invalid (must be one of the following: {', '.join(ACTIONS)})")
    if len(key) > DEDUP_KEY_CHARS:
        found.append(f"'dedup_key' is too long (maximum is {DEDUP_KEY_CHARS} characters)")
    if action in ("acknowledge", "resolve") and not key:
        found.append("'dedup_key' is missing or blank")
    if action == "trigger":
        found += _payload_problems(event.get("payload"))
    return found


def _payload_problems(payload: object) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    needed = ("summary", "source", "severity")
    found = [f"'payload.{name}' is missing or blank" for name in needed if not payload.get(name)]
    if payload.get("severity") and payload["severity"] not in SEVERITIES:
        found.append(f"'payload.severity' is invalid (must be one of the following: {', '.join(SEVERITIES)})")
    if len(str(payload.get("summary") or "")) > SUMMARY_CHARS:
        found.append(f"'payload.summary' is too long (maximum is {SUMMARY_CHARS} characters)")
    return found


def _invalid(*problems: str) -> Refused:
    return Refused(400, {"status": "invalid event", "message": "Event object is invalid", "errors": list(problems)})


def _reference(kind: str, identity: str, summary: str) -> Json:
    """How the REST API points at a thing."""
    url = f"https://api.pagerduty.com/{kind.replace('policy', 'policie')}s/{identity}"
    return {"id": identity, "type": f"{kind}_reference", "summary": summary, "self": url, "html_url": None}


def _instant(request: Request, name: str) -> float | None:
    """A parameter in RFC 3339 as unix seconds. Raises Refused as the REST API does."""
    text = request.query_params.get(name)
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        raise Refused(400, {"error": {"message": f"{name} is invalid", "code": 2001, "errors": []}}) from None


def _page(request: Request, count: int) -> Json:
    """Everything fits one page here."""
    limit = int(request.query_params.get("limit", "25"))
    if count > limit or request.query_params.get("offset", "0") != "0":
        raise Refused(501, {"error": {"message": "not taught: more than one page", "code": 2000, "errors": []}})
    return {"limit": limit, "offset": 0, "more": False, "total": None}
