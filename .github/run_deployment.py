"""Start a run of a Prefect deployment, follow it to its end, and exit as it ended.

It uses the standard library only, so that CI needs no installation.

    python3 .github/run_deployment.py release/production --parameters '{"request": {}}' --key production/v1/123/1

Reads PREFECT_API_URL and PREFECT_API_AUTH_STRING (user:password). Prints each new state, and a line a minute that says
where the run stands. At its end prints the outcome, the release's page up to its signals, and what serves now, and
writes the same to GITHUB_STEP_SUMMARY if that is set.
Exit status: 0 the run did what was asked, 1 it failed (reverted, refused, …), 2 it crashed, 3 it was cancelled,
4 it could not be started or followed.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from playbook.messages.escape import actions_data, actions_text, markdown  # it imports nothing else

EXIT = {"COMPLETED": 0, "FAILED": 1, "CRASHED": 2, "CANCELLED": 3}
COULD_NOT = 4
TRIES = 8
POLL_S = float(os.environ.get("POLL_SECONDS", "5"))
LINE_EVERY_S = float(os.environ.get("LINE_SECONDS", "60"))
PAGE_MAX = 60_000
"""Characters of a page that are shown. GitHub takes a summary of 1 MiB."""


def one_line(text: str) -> str:
    """What another machine said, short and on one line: a new line could be a command to GitHub."""
    return "".join(one if one.isprintable() else " " for one in text[:500])


def give_up(message: str) -> NoReturn:
    """Show ``message`` as an error in GitHub, and exit."""
    print(f"::error::{actions_data(message)}")
    summary(f"❌ {markdown(message)}")
    sys.exit(COULD_NOT)


def summary(text: str) -> None:
    """Add a line to the job's summary page."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        with open(path, "a", encoding="utf-8") as page:
            page.write(text + "\n\n")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: the login is not sent to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANSWER_MAX = 16 * 1024 * 1024
ANSWER_S = float(os.environ.get("ANSWER_SECONDS", "60"))
"""Of one answer, from the first byte sent to the last byte received."""
OPENER = urllib.request.build_opener(NoRedirect)


def is_safe(url: str) -> bool:
    """Whether the login may be sent to this URL: https, or http to this machine; no user name in it."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done here ends in time: urllib's own timeout is for each read, and an answer may come byte by byte."""

    def late(*_: object) -> NoReturn:
        raise TimeoutError(f"no complete answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def texts(found: object, *names: str) -> dict[str, str]:
    """These fields of an answer, if each is a text. Raises ValueError: something else than Prefect has answered."""
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in names):
        raise ValueError("what it answers is not Prefect's")
    return {name: found[name] for name in names}


def state_of(found: object) -> dict[str, str]:
    """The state in a flow run: its type, name and message, and the run's name. Raises ValueError, as `texts`."""
    if not isinstance(found, dict) or "state" not in found:
        raise ValueError("what it answers is not Prefect's")
    state = {"type": "PENDING", "name": "Pending"} if found["state"] is None else found["state"]
    said = texts(state, "type", "name")
    return {**said, "message": str(state.get("message") or ""), "run": str(found.get("name") or "")}


class Api:
    """Prefect's REST API, with retries. Creating a run twice with one idempotency key gives one run."""

    def __init__(self, url: str, login: str) -> None:
        self.url = url.rstrip("/")
        self.headers = {"content-type": "application/json"}
        if login:
            self.headers["authorization"] = "Basic " + base64.b64encode(login.encode()).decode()

    def ask(
        self, method: str, path: str, parse: Callable[[object], dict[str, str]], body: dict[str, Any] | None = None
    ) -> dict[str, str]:
        """What ``parse`` makes of the answer's JSON. Exits with one sentence if there is none."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, headers=self.headers, method=method)
        away = ""
        for attempt in range(TRIES):
            try:
                with within(ANSWER_S), OPENER.open(request, timeout=ANSWER_S) as answer:
                    return parse(json.loads(answer.read(ANSWER_MAX)))
            except urllib.error.HTTPError as refusal:
                away = f"{refusal.code} {refusal.reason}"
                if refusal.code < 500 and refusal.code != 429:
                    self.refused(refusal, path)
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as unreachable:
                away = str(getattr(unreachable, "reason", unreachable))
            time.sleep(min(2**attempt, 15) * POLL_S / 5)
        give_up(f"Prefect at PREFECT_API_URL={self.url} does not answer ({away}). Check the server and the URL.")

    def find(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What a filter finds, or nothing. It is asked once: the outcome does not depend on it."""
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=self.headers)
        try:
            with within(ANSWER_S / 3), OPENER.open(request, timeout=ANSWER_S) as answer:
                found = json.loads(answer.read(ANSWER_MAX))
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            return []
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def refused(self, refusal: urllib.error.HTTPError, path: str) -> NoReturn:
        """Show what a refusal means for the set-up, and exit."""
        try:
            with within(ANSWER_S):
                said = one_line(refusal.read(4000).decode(errors="replace"))
        except (OSError, http.client.HTTPException):
            said = "no complete answer"
        match refusal.code:
            case 301 | 302 | 303 | 307 | 308:
                give_up(
                    f"Prefect at {self.url} redirects to {one_line(refusal.headers.get('location') or 'nowhere')}. "
                    "Redirects are not followed: set the repository variable PREFECT_API_URL to the final https URL."
                )
            case 401 | 403:
                give_up("Prefect refuses the login. Check the secret PREFECT_API_AUTH_STRING (user:password).")
            case 404:
                give_up(f"Prefect at {self.url} has no {path}. Run `make deploy` there.")
            case _:
                give_up(f"Prefect refused {path} with {refusal.code}: {said}")


def follow(api: Api, run: dict[str, str], link: str) -> dict[str, str]:
    """Print each new state until the run is over, and return its last one."""
    shown, spoke_s = "", time.monotonic()
    while True:
        state = api.ask("GET", f"/flow_runs/{run['id']}", state_of)
        if state["name"] != shown:
            shown = state["name"]
            print(actions_text(one_line(f"{shown} {state['message']}")), flush=True)
            spoke_s = time.monotonic()
            if state["type"] == "PAUSED":
                summary(f"⏸ The release waits for a decision: [answer here]({link})")
        elif state["type"] not in EXIT and time.monotonic() - spoke_s >= LINE_EVERY_S:
            spoke_s = time.monotonic()
            print(actions_text(one_line(f"{clock()} {shown}: {step(pages_of(api, run))}")), flush=True)
        if state["type"] in EXIT:
            return state
        time.sleep(POLL_S)


def clock() -> str:
    """The time, in UTC."""
    return time.strftime("%H:%M UTC", time.gmtime())


def pages_of(api: Api, run: dict[str, str]) -> list[dict[str, Any]]:
    """The pages that the run has written, the newest first; those of what serves an environment are not among them."""
    body = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "UPDATED_DESC", "limit": 20}
    found = api.find("/artifacts/filter", body)
    return [one for one in found if not str(one.get("key") or "").endswith("-now")]


def step(pages: list[dict[str, Any]]) -> str:
    """Where the run stands: what its newest page says of itself."""
    return next((str(one["description"]) for one in pages if one.get("description")), "no step has been recorded yet")


def shown(page: object) -> str:
    """Markdown of ours as GitHub shows it: without pictures, HTML and mentions, and cut."""
    lines = [line for line in str(page or "")[:PAGE_MAX].splitlines() if "](data:" not in line]
    return "\n".join(lines).replace("![", "!\\[").replace("<", "&lt;").replace("@", "@\u2060").strip()


def result(api: Api, run: dict[str, str], environment: str) -> str:
    """The release's page up to its signals, and what serves the environment now. Markdown; empty where neither is."""
    release = next((one.get("data") for one in pages_of(api, run) if one.get("type") == "markdown"), "")
    body = {"artifacts": {"key": {"any_": [f"{environment}-now"]}}, "sort": "CREATED_DESC", "limit": 1}
    serves = next((one.get("data") for one in api.find("/artifacts/filter", body)), "")
    parts = (str(release).partition("\n### What it changes")[0], str(serves).partition("\n## The last ten")[0])
    return "\n\n".join(filter(None, map(shown, parts)))


def main() -> int:
    """Start the run, follow it, and report how it ended. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deployment", help="flow/deployment, for example release/production")
    parser.add_argument("--parameters", default="{}", help="the run's parameters, as JSON")
    parser.add_argument("--key", required=True, help="idempotency key: the same key is the same run")
    arguments = parser.parse_args()
    url = os.environ.get("PREFECT_API_URL", "")
    if not is_safe(url):
        give_up("PREFECT_API_URL is not set to an https URL (http only to this machine): set the repository variable.")
    api = Api(url, os.environ.get("PREFECT_API_AUTH_STRING", ""))
    try:
        parameters = json.loads(arguments.parameters)
    except json.JSONDecodeError as wrong:
        give_up(f"--parameters is not JSON: {wrong}")
    deployment = api.ask("GET", f"/deployments/name/{arguments.deployment}", lambda found: texts(found, "id"))
    body = {"parameters": parameters, "idempotency_key": arguments.key, "tags": ["github"]}
    path = f"/deployments/{urllib.parse.quote(deployment['id'])}/create_flow_run"
    run = api.ask("POST", path, lambda found: texts(found, "id", "name"), body)
    run = {**run, "id": urllib.parse.quote(run["id"], safe="")}
    link = f"{url.removesuffix('/api')}/v2/runs/flow-run/{run['id']}"
    print(actions_text(one_line(f"{run['name']}: {link}")), flush=True)
    state = follow(api, run, link)
    sign = "✅" if state["type"] == "COMPLETED" else "❌"
    name, message = markdown(state["name"]), markdown(state["message"])
    title = one_line(state["run"] or run["name"])
    details = result(api, run, arguments.deployment.rpartition("/")[2])
    for line in details.splitlines():
        print(actions_text(line), flush=True)
    print(actions_text(f"{title}: {link}"), flush=True)
    summary(f"## {sign} {name}\n\n{message}\n\n[{markdown(title)}]({link})\n\n{details}")
    return EXIT[state["type"]]


if __name__ == "__main__":
    sys.exit(main())
