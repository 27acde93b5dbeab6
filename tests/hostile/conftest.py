"""Makes the suite's own modules importable, and signs its calls in without an account."""

import sys
from pathlib import Path

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's sign-in has an account whose token is always valid, so that a block's own call is what is tested."""
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
