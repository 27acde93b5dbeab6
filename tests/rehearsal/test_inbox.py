"""The page that shows what people received: true to each vendor, and safe whatever the text holds."""

from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from rehearsal.inbox import application, document, page, slack_html
from rehearsal.training import lessons

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> [a](javascript:alert(1)) ![p](http://evil/p.png) \"'&"
CALLS = (
    ("slack", "/api/chat.postMessage", {"channel": "C0RELEASES", "text": HOSTILE}),
    ("slack", "/api/chat.postMessage", {"channel": HOSTILE, "text": f"```{HOSTILE}``` <javascript:alert(1)|x>"}),
    ("pagerduty", "/v2/enqueue", {"event_action": "trigger", "dedup_key": HOSTILE, "payload": {"summary": HOSTILE,
     "severity": HOSTILE, "custom_details": {HOSTILE: HOSTILE}}}),
    ("github", f"/repos/{HOSTILE}", {"title": HOSTILE, "body": HOSTILE, "labels": [HOSTILE]}),
    ("github", "/repos/a", {"title": 7, "body": ["not", "text"], "labels": "none"}),
    ("github", "/repos/a/deployments/1/statuses", {"state": HOSTILE, "description": HOSTILE, "log_url": HOSTILE}),
    ("sentry", "/releases", {HOSTILE: HOSTILE}),
    ("slack", "/api/chat.postMessage", [HOSTILE]),
)  # fmt: skip


class Elements(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def called(vendor: str, path: str, body: Any) -> dict[str, Any]:
    """A call as the world keeps it."""
    return {"seq": 1, "at": 1_763_301_600.0, "vendor": vendor, "method": "POST", "path": path, "body": body}


def test_hostile_text_stays_text() -> None:
    """No script, no handler, no link but http and https, whichever vendor received it."""
    found = Elements(page([called(*one) for one in CALLS]))
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [value for name, value in found.attributes if name in ("href", "src")]
    assert all(link.startswith(("http://", "https://")) for link in links)


def test_slack_text_is_shown_as_slack_shows_it() -> None:
    """Its three entities are read once, its links can be followed, and a mention is marked."""
    shown = slack_html("errors &gt; 0.5 % &amp;lt; <!channel> <https://a.example/x|the run> http://b.example/y")
    assert shown.startswith("errors &gt; 0.5 % &amp;lt; <mark>!channel</mark>")
    assert '<a href="https://a.example/x" rel="noreferrer">the run</a>' in shown
    assert '<a href="http://b.example/y" rel="noreferrer">http://b.example/y</a>' in shown


async def test_the_page_may_load_nothing_and_run_nothing() -> None:
    """The browser is told so, too."""

    async def calls() -> list[dict[str, Any]]:
        return [called(*CALLS[0])]

    transport = httpx.ASGITransport(application(calls))
    async with httpx.AsyncClient(transport=transport, base_url="http://inbox") as http:
        answer = await http.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "#releases" in answer.text


RAISED = ("pagerduty", "/v2/enqueue", {"event_action": "trigger", "dedup_key": "a", "payload": {"summary": "x"}})
ENDED = ("pagerduty", "/v2/enqueue", {"event_action": "resolve", "dedup_key": "a"})


@pytest.mark.parametrize(
    ("said", "headers", "expected"),
    [
        ((RAISED,), {}, ["a"]),
        ((RAISED, ENDED), {}, []),
        ((ENDED,), {}, []),
        ((RAISED,), {"sec-fetch-site": "cross-site"}, []),
    ],
    ids=["an open one", "one that is over", "one that is not known", "asked for by another site"],
)
async def test_an_open_incident_has_a_button_that_resolves_it(
    said: tuple[Any, ...], headers: dict[str, str], expected: list[str]
) -> None:
    """No other one is resolved."""
    resolved: list[str] = []

    async def calls() -> list[dict[str, Any]]:
        return [called(*one) for one in said]

    async def resolve(key: str) -> None:
        resolved.append(key)

    transport = httpx.ASGITransport(application(calls, resolve=resolve))
    async with httpx.AsyncClient(transport=transport, base_url="http://inbox") as http:
        shown = (await http.get("/")).text
        await http.post("/resolve", data={"key": "a"}, headers=headers)
    assert (shown.count("<button>Resolve</button>"), resolved) == (int(said == (RAISED,)), expected)


def test_a_page_that_is_kept_shows_its_tables_and_no_html_of_others() -> None:
    """What `rehearsal run` writes needs no server."""
    found = Elements(document("kept", f"| a | b |\n|---|---|\n| 1 | {HOSTILE} |"))
    assert "table" in found.tags
    assert "script" not in found.tags


@pytest.mark.parametrize("lesson", lessons("20251116"), ids=lambda one: f"{one.deployment} {one.what}")
def test_every_form_of_the_training_ground_is_a_request_without_problems(lesson: Any) -> None:
    """What the page links to can be submitted as it is."""
    from playbook.release.request import HotfixRequest, RollbackRequest
    from playbook.release.version import ReleaseRequest

    kinds = {"release": ReleaseRequest, "hotfix": HotfixRequest, "rollback": RollbackRequest}
    request = kinds[lesson.deployment.partition("/")[0]].model_validate(lesson.parameters["request"])
    services = ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")
    found = request.problems() if isinstance(request, RollbackRequest) else request.problems(services)  # type: ignore[attr-defined]
    assert found == []
