"""EthixAI's API (playbook section 5): the answer to a user's request. Pure, but for the clock of the reports."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ethixai.multipart import BadForm, parts
from ethixai.signed import Forged, read, sign
from ethixai.wire import Request

RUNNING_AFTER_S, COMPLETED_AFTER_S = 0.3, 0.8
SEEDED = {"test@example.com": "testpass"}
"""The user of the playbook's section 4."""
HOLE = "/api/debug/users"
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PASSWORD_CHARS = 8

PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>EthixAI</title></head>
<body><main id="app"><h1>EthixAI</h1><p>Fairness reports for your models.</p></main></body></html>
"""


@dataclass(frozen=True)
class Answer:
    """What is sent back: a status, and a body already encoded."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: str = ""


class Problem(Exception):
    """The request is refused: a 4xx status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Handler = Callable[[Request, str], Answer]
"""Takes the request and the id in its path ('' where the path has none)."""


def respond(routes: Mapping[str, Mapping[str, Handler]], request: Request) -> tuple[str, Answer]:
    """The name of the route that took the request, and its answer. Never raises for a bad request."""
    name, argument = _route_of(routes, request.path)
    try:
        if name not in routes:
            raise Problem(404, f"there is no {request.path}")
        handler = routes[name].get(request.method)
        if handler is None:
            allowed = ", ".join(routes[name])
            body = encoded({"error": f"{request.method} is not allowed"})
            return name, Answer(405, body, headers=f"allow: {allowed}\r\n")
        return name, handler(request, argument)
    except Problem as problem:
        return name, Answer(problem.status, encoded({"error": str(problem)}))


def _route_of(routes: Mapping[str, Mapping[str, Handler]], path: str) -> tuple[str, str]:
    if path in routes:
        return path, ""
    for prefix, suffix in (("/api/users/", ""), ("/api/datasets/", ""), ("/api/reports/", "/status")):
        argument = path.removeprefix(prefix).removesuffix(suffix)
        if path == f"{prefix}{argument}{suffix}" and argument and "/" not in argument:
            return f"{prefix}{{id}}{suffix}", argument
    return "unknown", ""


def encoded(value: object) -> bytes:
    """``value`` as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def _json(request: Request) -> dict[str, object]:
    if not request.header(b"content-type").startswith("application/json"):
        raise Problem(415, "content-type must be application/json")
    try:
        fields = json.loads(request.body)
    except ValueError:
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise Problem(400, "the body must be an object")
    return fields


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Problem(400, f"{name}: a text is needed")
    return value


def _credentials(request: Request) -> tuple[str, str]:
    fields = _json(request)
    email = _text(fields, "email").lower()
    if not EMAIL.fullmatch(email):
        raise Problem(400, "email: not an address")
    return email, _text(fields, "password")


def _user(request: Request) -> str:
    """The address of the user whose token the request carries."""
    scheme, _, token = request.header(b"authorization").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "a bearer token is needed")
    try:
        return str(read("tok", token.strip())["email"])
    except Forged:
        raise Problem(401, "the token is not valid") from None


def _owned(kind: str, what: str, text: str, email: str) -> dict[str, object]:
    """The fields of an id that belongs to the user."""
    try:
        fields = read(kind, text)
    except Forged:
        raise Problem(404, f"unknown {what}") from None
    if fields["email"] != email:
        raise Problem(403, f"this {what} belongs to another user")
    return fields


def _signed_in(email: str) -> dict[str, str]:
    return {"token": sign("tok", email=email), "userId": sign("usr", email=email)}


def _is_strong(password: str) -> bool:
    return (
        len(password) >= PASSWORD_CHARS
        and any(char.isdigit() for char in password)
        and any(char.isalpha() for char in password)
    )


def register(request: Request, _: str) -> Answer:
    """A new user, signed in. 400 for a weak password, as for any bad field."""
    email, password = _credentials(request)
    if email in SEEDED:
        raise Problem(400, "email: already registered")
    if not _is_strong(password):
        raise Problem(400, f"password: at least {PASSWORD_CHARS} characters with a letter and a digit are needed")
    return Answer(201, encoded(_signed_in(email)))


def login(request: Request, _: str) -> Answer:
    """A signed-in user. 401 for a password that is too weak to have been registered."""
    email, password = _credentials(request)
    if password != SEEDED[email] if email in SEEDED else not _is_strong(password):
        raise Problem(401, "wrong email or password")
    return Answer(200, encoded(_signed_in(email)))


def delete_user(request: Request, user_id: str) -> Answer:
    """204 to the user themself."""
    _owned("usr", "user", user_id, _user(request))
    return Answer(204)


def upload(request: Request, _: str) -> Answer:
    """A data set of a CSV file with a header and at least one row."""
    email = _user(request)
    try:
        form = parts(request.header(b"content-type"), request.body)
    except BadForm as bad:
        raise Problem(400, str(bad)) from None
    name = form.get("datasetName", (None, b""))[1].decode(errors="replace").strip()
    if not name:
        raise Problem(400, "datasetName: a text is needed")
    filename, content = form.get("file", (None, b""))
    if filename is None:
        raise Problem(400, "file: a file is needed")
    rows = [line for line in content.decode(errors="replace").splitlines() if line.strip()]
    if len(rows) < 2:
        raise Problem(400, "file: a header and at least one row are needed")
    made = {"datasetId": sign("ds", email=email, name=name, at=time.time()), "datasetName": name}
    return Answer(201, encoded(made | {"rows": len(rows) - 1}))


def delete_dataset(request: Request, dataset_id: str) -> Answer:
    """204 to the owner."""
    _owned("ds", "dataset", dataset_id, _user(request))
    return Answer(204)


def analyze(request: Request, _: str) -> Answer:
    """A report of a data set, queued."""
    email = _user(request)
    fields = _json(request)
    _owned("ds", "dataset", _text(fields, "datasetId"), email)
    _text(fields, "targetColumn")
    attributes = fields.get("sensitiveAttributes")
    if not isinstance(attributes, list) or not attributes or not all(isinstance(one, str) for one in attributes):
        raise Problem(400, "sensitiveAttributes: a list of column names is needed")
    return Answer(201, encoded({"reportId": sign("rep", email=email, at=time.time()), "status": "queued"}))


def report_status(request: Request, report_id: str) -> Answer:
    """``queued``, then ``running``, then ``completed``, by the age of the report."""
    report = _owned("rep", "report", report_id, _user(request))
    age_s = time.time() - float(str(report["at"]))
    status = "queued" if age_s < RUNNING_AFTER_S else "running" if age_s < COMPLETED_AFTER_S else "completed"
    return Answer(200, encoded({"reportId": report_id, "status": status}))


def debug_users(_: Request, __: str) -> Answer:
    """The rehearsal's security hole: the users' addresses are public until an image is ``patched``."""
    return Answer(200, encoded({"users": list(SEEDED)}))


def closed(_: Request, __: str) -> Answer:
    """The answer of a patched image to the same request."""
    raise Problem(403, "forbidden")


def maintained(_: Request, __: str) -> Answer:
    """The answer of a maintenance revision to a write."""
    return Answer(503, encoded({"error": "read-only for maintenance"}), headers="retry-after: 120\r\n")


def ping(_: Request, __: str) -> Answer:
    """The request that the load sends."""
    return Answer(200, b'{"ok":true}')


def page(_: Request, __: str) -> Answer:
    """The frontend's only page."""
    return Answer(200, PAGE, "text/html; charset=utf-8")


PINGS: dict[str, dict[str, Handler]] = {"/": {"GET": ping}, "/api/ping": {"GET": ping}}
ANALYSIS: dict[str, dict[str, Handler]] = {
    "/api/analyze": {"POST": analyze},
    "/api/reports/{id}/status": {"GET": report_status},
}
ROUTES: dict[str, dict[str, dict[str, Handler]]] = {
    "backend": {
        **PINGS,
        **ANALYSIS,
        "/api/auth/register": {"POST": register},
        "/api/auth/login": {"POST": login},
        "/api/users/{id}": {"DELETE": delete_user},
        HOLE: {"GET": debug_users},
        "/api/datasets/upload": {"POST": upload},
        "/api/datasets/{id}": {"DELETE": delete_dataset},
    },
    "ai-core": {**PINGS, **ANALYSIS},
    "frontend": {**PINGS, "/": {"GET": page}},
}
"""For each job, what it serves: path -> method -> handler. ``{id}`` stands for one segment."""


def patched(routes: Mapping[str, Mapping[str, Handler]]) -> Mapping[str, Mapping[str, Handler]]:
    """The same routes with the hole closed, where they have it."""
    return {path: {"GET": closed} if path == HOLE else methods for path, methods in routes.items()}


def read_only(routes: Mapping[str, Mapping[str, Handler]]) -> Mapping[str, Mapping[str, Handler]]:
    """The routes of a maintenance revision: reads are answered, writes get 503 with Retry-After."""
    return {
        path: {method: handler if method == "GET" else maintained for method, handler in methods.items()}
        for path, methods in routes.items()
    }
