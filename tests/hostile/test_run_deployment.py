"""The script that CI runs keeps its login to itself: https only, and no redirect is followed."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGIN = "ci:very-secret-password"


def run(url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The script, as a workflow calls it."""
    environ = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": LOGIN, "POLL_SECONDS": "0.001"}
    environ["ANSWER_SECONDS"] = "0.3"
    command = [sys.executable, ".github/run_deployment.py", "release/production", "--key", "k"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environ | more, capture_output=True, text=True, timeout=60, check=False
    )


RUN = {"id": "123e4567-e89b-12d3-a456-426614174000", "name": "release v1"}


@contextmanager
def answering(answer: Callable[[str], object]) -> Iterator[str]:
    """A server that answers with this JSON, by path; ``SLOW`` comes byte by byte. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        """Answers every request."""

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            found = answer(self.path)
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("content-length", str(10_000 if found is SLOW else len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if found is SLOW else body)
                while found is SLOW:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


SLOW = "slow"
ODD = [None, float("nan"), [], {"id": 7}, SLOW]


@contextmanager
def redirecting(to: str = "") -> Iterator[tuple[str, list[str | None]]]:
    """A server that redirects to ``to``, or answers 200. Yields its URL and the logins that it was sent."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        """Notes who signs in."""

        def do_GET(self) -> None:
            seen.append(self.headers.get("authorization"))
            self.send_response(307 if to else 200)
            if to:
                self.send_header("location", to)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.mark.parametrize(
    "url",
    ["http://prefect.example/api", "ftp://x/api", "https://me:secret@x/api", "http://127.0.0.1.example/api", "", "x"],
)
def test_the_login_goes_over_https_only(url: str) -> None:
    """One sentence, and nothing is sent. Plain http is for this machine."""
    done = run(url)
    assert done.returncode == 4
    assert "PREFECT_API_URL is not set to an https URL" in done.stdout


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("where", ["/deployments/name/", "/create_flow_run", "/flow_runs/"])
def test_an_answer_that_is_not_prefects_is_no_outcome(where: str, odd: object) -> None:
    """It ends, and exits as one that could not be started or followed: 1 would say that the release failed."""
    with answering(lambda path: odd if where in path else RUN) as url:
        done = run(url)
    assert done.returncode == 4, done.stderr
    assert "::error::Prefect at" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("state", ["x", [], {"type": "COMPLETED"}], ids=str)
def test_a_state_that_is_none_is_no_outcome(state: object) -> None:
    """As an answer that is not Prefect's."""
    with answering(lambda path: {**RUN, "state": state} if "/flow_runs/" in path else RUN) as url:
        done = run(url)
    assert done.returncode == 4, done.stderr


def test_a_state_says_what_it_says_on_one_line() -> None:
    """A message that is no text is none; commands in a name or a message are not obeyed."""
    state = {"type": "FAILED", "name": "Reverted", "message": "no\n::add-mask::x"}
    final = {**RUN, "name": "::stop-commands::x", "state": state}
    with answering(lambda path: final if "/flow_runs/" in path else RUN) as url:
        done = run(url)
    assert done.returncode == 1, done.stderr
    assert not [line for line in done.stdout.splitlines() if line.strip().startswith("::")]


def test_a_page_shows_no_picture_of_elsewhere(tmp_path: Path) -> None:
    """Nor HTML, nor a mention: whoever opens the summary would ask that host."""
    page = {"type": "markdown", "key": "k", "data": "# Release\n![x](https://evil.example/x.png) <b> @team"}
    final = {**RUN, "state": {"type": "COMPLETED", "name": "Promoted"}}

    def answer(path: str) -> object:
        return [page] if path.endswith("/artifacts/filter") else final

    summary = tmp_path / "summary.md"
    with answering(answer) as url:
        done = run(url, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    assert "!\\[x](https://evil.example/x.png) &lt;b> @\u2060team" in summary.read_text()


def test_a_redirect_is_not_followed() -> None:
    """The host that it leads to never sees the login; the sentence says what to set."""
    with redirecting() as (elsewhere, stolen), redirecting(f"{elsewhere}/take") as (url, seen):
        done = run(f"{url}/api")
    assert done.returncode == 4
    assert "Redirects are not followed" in done.stdout
    assert seen == [f"Basic {base64.b64encode(LOGIN.encode()).decode()}"]
    assert stolen == []
    assert LOGIN not in done.stdout + done.stderr
