"""The script that CI runs keeps its login to itself: https only, and no redirect is followed."""

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGIN = "ci:very-secret-password"


def run(url: str) -> subprocess.CompletedProcess[str]:
    """The script, as a workflow calls it."""
    environ = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": LOGIN, "POLL_SECONDS": "0.001"}
    command = [sys.executable, ".github/run_deployment.py", "release/production", "--key", "k"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False
    )


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


def test_a_redirect_is_not_followed() -> None:
    """The host that it leads to never sees the login; the sentence says what to set."""
    with redirecting() as (elsewhere, stolen), redirecting(f"{elsewhere}/take") as (url, seen):
        done = run(f"{url}/api")
    assert done.returncode == 4
    assert "Redirects are not followed" in done.stdout
    assert seen == [f"Basic {base64.b64encode(LOGIN.encode()).decode()}"]
    assert stolen == []
    assert LOGIN not in done.stdout + done.stderr
