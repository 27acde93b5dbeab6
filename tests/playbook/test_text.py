"""Text from outside is cut, clean and without secrets, and the patterns on it take time that grows with its length."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from playbook.errors import BadRequest, Refused
from playbook.incident import response
from playbook.incident.decision_matrix import Symptom
from playbook.incident.logs import LogLine
from playbook.incident.response import signature
from playbook.release.request import ExploitCheck, ExploitRequest, RollbackRequest
from playbook.text import LINE_MAX, MASK, MESSAGE_MAX, Cleaned, clean, clean_deep, mask

ANY = st.text(st.characters(), max_size=200) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=20)


@given(ANY, st.integers(0, 300))
def test_clean_text_can_be_stored_and_is_not_too_long(text: str, limit: int) -> None:
    """UTF-8 can write it, PostgreSQL takes it, and cleaning it again changes nothing."""
    found = clean(text, limit)
    assert len(found) <= limit
    assert "\0" not in found
    found.encode()
    assert clean(found, limit) == found


def test_ordinary_text_stays_as_it_is() -> None:
    """Umlauts, emoji, line breaks and tabs are no danger."""
    text = "Prüfung 🚨 failed:\n\tline 2 — «ok»"
    assert clean(text) == text


def test_spaces_without_width_are_no_text() -> None:
    """They come with what is copied from a chat: a version stays a version, and a reason of nothing else is none."""
    assert clean("v20251116-abc123\u200b\ufeff") == "v20251116-abc123"
    asked = RollbackRequest(symptom=Symptom.UI_BUG, reason="\u200b\u200e", requested_by="\ufeff", override_reason="x")
    assert [problem.split(":")[0] for problem in asked.problems()] == ["reason", "requested_by"]


def test_what_is_cut_says_so() -> None:
    """With an ellipsis, also where most of the text was control characters."""
    assert clean("a" * 50, 10) == "aaaaaaaa …"
    assert clean("\0" * 50 + "a", 10).endswith("…")


def test_what_just_fits_is_not_cut() -> None:
    """Control characters do not count while they are among what is looked at: twice as many as may stay."""
    assert clean("a" * 10, 10) == "a" * 10
    assert clean("\0" * 10 + "a" * 10, 10) == "a" * 10
    assert clean("\0" * 11 + "a" * 10, 10) == "aaaaaaaa …"


def test_marks_that_turn_the_direction_of_text_go() -> None:
    """A reader must see what a machine reads."""
    assert clean("a\u202eb\u2066c") == "abc"


UNSEEN = [0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0x2064, 0xFEFF, 0xE0001, 0xE0041, 0xE007F]


@pytest.mark.parametrize("code", UNSEEN, ids=hex)
def test_letters_that_are_not_seen_go(code: int) -> None:
    """Two names that look alike would be two names: ``ada`` and ``a<zero width>da``; tags hide whole sentences."""
    assert clean(f"a{chr(code)}da") == "ada"
    asked = RollbackRequest.model_validate(
        {"symptom": "Something else", "reason": f"bad{chr(code)}", "requested_by": f"a{chr(code)}da"}
    )
    assert (asked.reason, asked.requested_by) == ("bad", "ada")


def test_joined_emoji_and_right_to_left_letters_stay() -> None:
    """They are text: a family, and Hebrew and Arabic words."""
    text = "👩‍👧 שלום مرحبا"
    assert clean(text) == text


def test_everything_in_parameters_is_cleaned() -> None:
    """Keys, lists and nested values; a structure without an end has one afterwards."""
    assert clean_deep({"a\0": ["b\ud800", {"c": ("d\0", 1, None)}]}) == {"a": ["b", {"c": ["d", 1, None]}]}
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    assert len(str(clean_deep(deep))) < 100


def test_what_is_read_from_a_vendor_is_cleaned_before_it_is_checked() -> None:
    """What is no text is refused as it is."""
    said = TypeAdapter(Cleaned)
    assert said.validate_python("a\0b\u202ec") == "abc"
    with pytest.raises(ValidationError):
        said.validate_python(3)


def test_the_message_of_an_error_is_clean_and_short() -> None:
    """Whatever a vendor said: it becomes the message of a state."""
    assert str(Refused("no\0\ud800 " + "x" * 50_000)).startswith("no x")
    assert len(str(Refused("x" * 50_000))) == MESSAGE_MAX
    wrong = BadRequest(["a\0"] * 500)
    assert wrong.problems[0] == "a"
    assert len(wrong.problems) == 100


def test_a_request_is_cleaned_when_it_is_read() -> None:
    """A reason with NUL or a lone surrogate is kept without them."""
    request = RollbackRequest.model_validate(
        {"symptom": "error rate > 1 %", "reason": "bad\0 \ud800thing", "requested_by": "ada"}
        | {"symptom": next(iter(RollbackRequest.model_fields["symptom"].annotation))}
    )
    assert request.reason == "bad thing"


SECRETS = [
    "xoxb-1234567890-abcdef",
    "ghp_abcdefghijklmnopqrstuvwxyz0123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AKIAABCDEFGHIJKLMNOP",
    "ya29.abcdefghijklmnopqrst",
    "GOCSPX-abcdefghijklmnopqrstuvwxyz12",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "dckr_pat_abcdefghijklmnopqrstuvw",
    "pypi-AgEIcHlwaS5vcmcCJGFiY2Rl",
    "glsa_abcdefghijklmnopqrstuvwxyz012345",
    "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789",
    "hooks.slack.com/services/T0123/B0123/abcdefgh1234",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_known_by_its_form(secret: str) -> None:
    """Wherever it stands in a line."""
    assert secret not in mask(f"GET /x?a={secret} failed")
    assert MASK in mask(secret)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization: Bearer abcdefgh1234", "abcdefgh1234"),
        ('{"password": "hunter22", "user": "ada"}', "hunter22"),
        ("connect mongodb://ada:hunter22@host/db", "hunter22"),
        ("connect postgres://ada:hunt@er22@host/db", "er22"),
        ("dsn https://0123456789abcdef0123456789abcdef@o1.example/1", "0123456789abcdef"),
        ("DB_PASS=hunter22", "hunter22"),
        ("pwd: hunter22", "hunter22"),
        ("passphrase is set, credential=hunter22", "hunter22"),
        ("AccountKey=hunter22==;", "hunter22"),
        ("api_key=hunter22&x=1", "hunter22"),
        ("Set-Cookie: session=hunter22", "hunter22"),
        ("password='correct horse hunter22'", "hunter22"),
        ('{"password": "a\\"b hunter22", "user": "ada"}', "hunter22"),
        ("mysql --password hunter22 -h db", "hunter22"),
        ("GET /x?X-Goog-Signature=hunter22&y=1", "hunter22"),
        ("GET /x?sv=1&sig=hunter22", "hunter22"),
    ],
)
def test_a_secret_is_known_by_its_name(line: str, shown: str) -> None:
    """What a log calls a password, a token or a key is one."""
    assert shown not in mask(line)


def test_what_stands_beside_a_secret_is_shown() -> None:
    """Its name, its quotes, and what comes after it."""
    assert mask('{"password": "a b", "user": "ada"}') == f'{{"password": "{MASK}", "user": "ada"}}'
    assert mask("token='a b' and x") == f"token='{MASK}' and x"
    assert mask("token=it's wrong") == f"token={MASK}'s wrong"
    assert mask("mysql --password x -h db") == f"mysql --password {MASK} -h db"


def test_a_secret_is_known_by_its_value() -> None:
    """In whatever place; a very short one would hit ordinary words."""
    assert mask("it said tr0ub4dor here", ["tr0ub4dor", "it"]) == f"it said {MASK} here"
    assert mask("tr0ub4 tr0ub", ["tr0ub4", "tr0ub"]) == f"{MASK} tr0ub"


HOSTILE = ["_-", "a", "-", "a.", "a@", "a@b.", "1", "1.", "a1", "f", "0x", "://", "://a:", "token", "secret-", "api_"]
HOSTILE += ["eyJ", "Bearer ", "-----BEGIN ", " ", "=", "xoxb-", "2025-01-01T00:00:", "0000-", "\\", '"', "password="]
PATTERNS = [pattern for pattern, _ in response._VARIABLE]


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """The least of three tries."""
    took = []
    for _ in range(3):
        began = time.process_time()
        pattern.sub("", text)
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.pattern)
def test_a_pattern_on_log_lines_is_linear(pattern: re.Pattern[str]) -> None:
    """Sixteen times the text takes far less than sixteen squared times as long, for every hostile line.

    Only times above 20 ms are compared: below that a pattern is harmless at any shape.
    """
    for piece in HOSTILE:
        short, long = (piece * (size // len(piece)) for size in (2_000, 32_000))
        took = seconds(pattern, long)
        assert took < 0.02 or took < 64 * max(seconds(pattern, short), 0.0005), piece


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_pattern_sees_only_the_start_of_a_line(piece: str) -> None:
    """32 kB of anything are cut before they are searched, so the result is that of the first 2 kB."""
    line = piece * (32_000 // len(piece))
    assert signature(line) == signature(clean(line, LINE_MAX))
    assert len(LogLine(at_s=0, severity="ERROR", text=line, insert_id="1").text) <= LINE_MAX


def test_a_check_of_an_exploit_publishes_how_little_it_can() -> None:
    """Not its path, not its headers, not its body."""
    check = ExploitCheck(request="secret-manager:projects/p/secrets/exploit-cve-1/versions/2")
    assert str(check) == "exploit-cve-1 to ethixai-backend"
    earlier = {"method": "POST", "path": "/admin?debug=1", "headers": {"X-Probe": "boom"}, "body": "payload"}
    assert str(ExploitCheck.model_validate(earlier)) == "POST to ethixai-backend"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere"},
        {"Content-Length": "3"},
        {"transfer-encoding": "chunked"},
        {"Connection": "close"},
        {"Proxy-Authorization": "x"},
        {"X-Forwarded-Host": "x"},
        {"a b": "x"},
        {"x": "two\r\nlines"},
        {"X-Probe": "env:SLACK_TOKEN"},
        {"X-Probe": "secret-manager:projects/p/secrets/slack/versions/latest"},
        {"X-Probe": "file:/etc/passwd"},
    ],
    ids=str,
)
def test_a_header_that_misleads_or_gives_away_is_refused(headers: dict[str, str]) -> None:
    """How a request is framed and to whom it goes is ours; a secret is sent only if it was made for this."""
    with pytest.raises(ValidationError):
        ExploitRequest(path="/x", headers=headers)


def test_a_header_of_an_exploit_may_be_a_reference() -> None:
    """So that a token is kept in one place."""
    headers = {"Authorization": "env:EXPLOIT_TOKEN", "Content-Type": "text/xml"}
    assert ExploitRequest(path="/x", headers=headers).headers == headers
