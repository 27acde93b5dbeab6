"""A page on this machine that shows what Slack, PagerDuty, GitHub and Sentry received, as each of them would show it.

A person resolves an open incident of PagerDuty there: a release is refused until its incident is resolved.

What a vendor received may hold anything. Every text is escaped here, links lead to http and https only, and the page
may load nothing and run no script.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from html import escape
from time import gmtime, strftime
from typing import Any
from urllib.parse import parse_qs

from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

Calls = Sequence[Mapping[str, Any]]
"""Accepted calls to vendors: ``{seq, at, vendor, method, path, body}``, ``at`` in unix seconds."""

REFRESH_S = 5
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
NAMES = {"slack": "Slack", "pagerduty": "PagerDuty", "github": "GitHub", "sentry": "Sentry"}
CHANNELS = {"C0RELEASES": "#releases", "C0INCIDENTS": "#incident-response", "C0PLATFORM": "#platform-engineering"}
STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8882}
body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.25rem}h3{font-size:1.1rem}
.one{border:1px solid var(--line);border-left:4px solid var(--line);border-radius:6px;
padding:.5rem .8rem;margin:.6rem 0;overflow-wrap:anywhere}
.head{opacity:.75;font-size:.85rem}.text{white-space:pre-wrap}
pre,code{background:var(--soft);border-radius:4px;padding:.1rem .3rem;overflow-x:auto}
.slack{border-left-color:#611f69}.pagerduty{border-left-color:#06ac38}
.github{border-left-color:#6e7781}.sentry{border-left-color:#e1567c}
.pill{border:1px solid var(--line);border-radius:1em;padding:0 .5em}.critical,.error{background:#d1242f;color:#fff}
table{border-collapse:collapse}td,th{border:1px solid var(--line);padding:.2rem .5rem;text-align:left}
li{margin:.25rem 0}form{margin:.4rem 0 0}button{font:inherit;padding:.15rem .8rem;cursor:pointer}
"""
_ENTITY = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_SLACK = re.compile(r"```(?P<block>.*?)```|`(?P<code>[^`\n]+)`|<(?P<control>[^<>]+)>|(?P<url>https?://[^\s<>|]+)", re.S)
_MARKDOWN = MarkdownIt("js-default")
"""Without HTML in it, and with no link to anything but the usual schemes."""


PICTURE = "data:image/svg+xml;base64,"
"""The charts of a release's page. A browser runs no script of an image."""
_PAGE = MarkdownIt("js-default")
_PAGE.validateLink = lambda url: url.startswith(PICTURE) or _MARKDOWN.validateLink(url)  # type: ignore[method-assign]


def page(calls: Calls, head: str = "") -> str:
    """The whole page, the newest first. ``head`` is HTML above the messages."""
    shown = [one for one in reversed(calls) if one["vendor"] in NAMES]
    still = open_incidents(calls)
    items = "\n".join(_one(one, still) for one in shown) or "<p>Nothing was sent yet.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<title>Rehearsal: what people received</title><style>{STYLE}</style><body>{head}"
        f"<h1>What people received, newest first</h1>{items}</body></html>"
    )


def document(title: str, text: str) -> str:
    """The Markdown of a release's page as one HTML file that needs nothing else."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<body>{_PAGE.render(text)}</body></html>"
    )


def open_incidents(calls: Calls) -> dict[str, int]:
    """The incidents that nothing has resolved yet: the key -> ``seq`` of the newest call that raised it."""
    found: dict[str, int] = {}
    for call in calls:
        body = call["body"] if isinstance(call["body"], dict) else {}
        if call["vendor"] != "pagerduty" or not isinstance(key := body.get("dedup_key"), str):
            continue
        if body.get("event_action") == "resolve":
            found.pop(key, None)
        else:
            found[key] = int(call["seq"])
    return found


async def _no_pager(key: str) -> None:
    """The default: there is nothing to resolve."""


def application(
    calls: Callable[[], Awaitable[Calls]],
    head: Callable[[], str] = str,
    resolve: Callable[[str], Awaitable[None]] = _no_pager,
) -> Starlette:
    """Serves `page` at ``/``, made anew for each request. Its buttons call ``resolve`` with an incident's key."""

    async def answer(request: Request) -> HTMLResponse:
        return HTMLResponse(page(await calls(), head()), headers={"Content-Security-Policy": POLICY})

    async def resolved(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Only this page's own buttons resolve an incident.", 403)
        body = await request.body()
        for key in parse_qs(body.decode(errors="replace")).get("key", [])[:1]:
            if key in open_incidents(await calls()):
                await resolve(key)
        return RedirectResponse("/", 303)

    return Starlette(routes=[Route("/", answer), Route("/resolve", resolved, methods=["POST"])])


def _one(call: Mapping[str, Any], still: Mapping[str, int]) -> str:
    """One message in its vendor's form. ``still``: the incidents that are open."""
    vendor, body = str(call["vendor"]), call["body"] if isinstance(call["body"], dict) else {}
    at = strftime("%H:%M:%S", gmtime(float(call["at"])))
    where, text = _FORMS[vendor](str(call["path"]), body)
    key = str(body.get("dedup_key", ""))
    if vendor == "pagerduty" and still.get(key) == call["seq"]:
        text += _button(key)
    return (
        f'<div class="one {vendor}"><div class="head">{at} UTC · <b>{NAMES[vendor]}</b> · {where}</div>'
        f'<div class="text">{text}</div></div>'
    )


def _button(key: str) -> str:
    """The button that a person presses in PagerDuty once the fault is found."""
    hidden = f'<input type="hidden" name="key" value="{escape(key)}">'
    why = "open: the next release is refused until it is resolved"
    return f'<form method="post" action="/resolve">{hidden}<button>Resolve</button> {why}</form>'


def _slack(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    channel = str(body.get("channel", ""))
    return escape(CHANNELS.get(channel, channel)), slack_html(str(body.get("text", "")))


def slack_html(text: str) -> str:
    """A message as Slack shows it: mentions, links and code as Slack reads them, all else as text."""
    parts, end = [], 0
    for found in _SLACK.finditer(text):
        parts.append(_slack_text(text[end : found.start()]))
        end = found.end()
        if (block := found["block"]) is not None:
            parts.append(f"<pre>{_slack_text(block.strip())}</pre>")
        elif (code := found["code"]) is not None:
            parts.append(f"<code>{_slack_text(code)}</code>")
        elif (url := found["url"]) is not None:
            parts.append(_link(_slack_plain(url), _slack_plain(url)))
        else:
            target, _, label = found["control"].partition("|")
            is_link = target.startswith(("https://", "http://"))
            shown = _slack_plain(label or target)
            parts.append(_link(_slack_plain(target), shown) if is_link else f"<mark>{escape(shown)}</mark>")
    return "".join([*parts, _slack_text(text[end:])])


def _slack_text(text: str) -> str:
    return escape(_slack_plain(text))


def _slack_plain(text: str) -> str:
    """The text with Slack's three entities read."""
    return re.sub("&(?:lt|gt|amp);", lambda found: _ENTITY[found[0]], text)


def _link(url: str, label: str) -> str:
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(label)}</a>'


def _pagerduty(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    action = escape(str(body.get("event_action", "incident")))
    incident = f"incident {escape(str(body.get('dedup_key', '')))}"
    payload = body.get("payload")
    if not isinstance(payload, dict):
        return f"{incident} · {action}", "The incident is over." if action == "resolve" else ""
    severity = escape(str(payload.get("severity", "")))
    details = payload.get("custom_details")
    text = f'<span class="pill {severity}">{severity}</span> <b>{escape(str(payload.get("summary", "")))}</b>'
    return f"{incident} · {action}", text + _table(details if isinstance(details, dict) else {})


def _table(rows: Mapping[str, Any]) -> str:
    said = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in rows.items()}
    cells = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in said.items()
    )
    return f"<table>{cells}</table>" if cells else ""


def _github(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    if "/deployments" in path:
        shown = {name: body[name] for name in ("environment", "ref", "state", "description") if body.get(name)}
        return escape(path), _table(shown)
    labels = body.get("labels") if isinstance(body.get("labels"), list) else []
    pills = " ".join(f'<span class="pill">{escape(str(label))}</span>' for label in labels or ())
    title = f"<b>{escape(str(body['title']))}</b> " if "title" in body else ""
    text = _MARKDOWN.render(str(body.get("body") or ""))
    shown = text if not title else f"<details><summary>open</summary>{text}</details>"
    return escape(path), f'{title}{pills}<div style="white-space:normal">{shown}</div>'


def _sentry(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    return escape(path), _table({name: value for name, value in body.items() if value})


_FORMS: dict[str, Callable[[str, Mapping[str, Any]], tuple[str, str]]] = {
    "slack": _slack,
    "pagerduty": _pagerduty,
    "github": _github,
    "sentry": _sentry,
}


def link(url: str, label: str) -> str:
    """A link in HTML."""
    return _link(url, label)


def listed(items: Iterable[tuple[str, str, str]]) -> str:
    """An HTML list of (link, its label, text)."""
    return "<ol>" + "".join(f"<li>{_link(url, label)}: {escape(text)}</li>" for url, label, text in items) + "</ol>"
