"""Text from outside, made safe to keep and to show: cut, without control characters, without secrets.

PostgreSQL refuses NUL, UTF-8 has no lone surrogates, and one of either loses a whole batch of events or log lines.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator

MESSAGE_MAX = 2000
"""Characters of a message about an error, and of a state's message."""
QUOTE_MAX = 300
"""Characters that a message quotes from a vendor's answer."""
LINE_MAX = 2000
"""Characters of one log line that are kept. Patterns never see more."""
PAGE_MAX = 200_000
"""Characters of a page (an artifact, a ticket)."""

CUT = " …"
MASK = "<secret>"

_RANGES = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF)),
    *((0x061C, 0x061C), (0x200B, 0x200B), (0x200E, 0x200F), (0x2060, 0x2064), (0xFEFF, 0xFEFF), (0xE0000, 0xE007F)),
)
_CONTROLS = dict.fromkeys(code for first, last in _RANGES for code in range(first, last + 1))
"""C0 and C1 controls but newline and tab, line separators, marks that turn the direction of text, lone surrogates; and
letters that are not seen (zero width, tags): two names look alike with them, and a reason of these alone is none."""


def clean(text: str, limit: int = MESSAGE_MAX) -> str:
    """``text`` without what cannot be stored or shown, at most ``limit`` characters.

    What is cut off is marked with an ellipsis. Only the first ``2 * limit`` characters are looked at.
    """
    found = text[: 2 * limit].translate(_CONTROLS)
    if len(found) <= limit and len(text) <= 2 * limit:
        return found
    return found[: max(limit - len(CUT), 0)] + CUT[:limit]


def clean_deep(value: object, limit: int = PAGE_MAX) -> object:
    """``value`` with every string in it cleaned, in dictionaries (keys too), lists and tuples, up to 20 levels down."""
    return _clean_deep(value, limit, 20)


def _clean_deep(value: object, limit: int, depth: int) -> object:
    if isinstance(value, str):
        return clean(value, limit)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == 0:
        return CUT.strip()
    if isinstance(value, dict):
        return {_clean_deep(key, limit, 0): _clean_deep(one, limit, depth - 1) for key, one in value.items()}
    return [_clean_deep(one, limit, depth - 1) for one in value]


def _cleaned(value: object) -> object:
    return clean(value, PAGE_MAX) if isinstance(value, str) else value


Cleaned = Annotated[str, BeforeValidator(_cleaned)]
"""A string that has been cleaned before anything else is validated. Its length has its own limit."""


def _on_one_line(value: object) -> object:
    return clean(" ".join(clean(value, 4 * QUOTE_MAX).split()), QUOTE_MAX) if isinstance(value, str) else value


CleanName = Annotated[str, BeforeValidator(_on_one_line)]
"""What another system calls a thing or a person, cleaned, cut and on one line: a second line would look like ours."""

_FILLERS = frozenset({0x115F, 0x1160, 0x3164, 0xFFA0})
"""Letters to Unicode that no font shows (Hangul fillers)."""
NO_ONE = re.compile(r"no(ne|body| one)|null|undefined|n/?a", re.IGNORECASE)
"""What stands in a field for a name where there is none: words of people, and of scripts that print a missing value."""


def says_something(text: str) -> bool:
    """Whether ``text`` has a letter or a digit that can be seen: a dash, a dot or an invisible mark is no reason."""
    return any(unicodedata.category(one)[0] in "LN" and ord(one) not in _FILLERS for one in text)


def _said(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = clean(value, PAGE_MAX).strip()
    return found if says_something(found) else ""


def _named(value: object) -> object:
    found = _said(value)
    return "" if isinstance(found, str) and NO_ONE.fullmatch(found) else found


Said = Annotated[str, BeforeValidator(_said)]
"""What a person wrote, cleaned and without spaces around it; empty where it says nothing."""
Name = Annotated[str, BeforeValidator(_named)]
"""The name of a person; empty where it names no one."""


def foreign_letters(text: str) -> str:
    """What in a name of ASCII letters is none, for the end of a sentence: ``'а' is CYRILLIC SMALL LETTER A``. Empty
    where there is no such letter.

    Some letters look alike, and no one finds the wrong one by looking.
    """
    found = dict.fromkeys(one for one in text if not one.isascii())
    said = [f"{one!r} is {unicodedata.name(one, f'U+{ord(one):04X}')}" for one in list(found)[:3]]
    return f" ({', '.join(said)})" if said else ""


# Every repetition has an upper bound, and most patterns begin with fixed letters: the time grows with the length alone.
_SECRET_FORMS = (
    re.compile(r"\b(?:xox[abeoprs]|xapp)-[\w-]{8,500}"),  # Slack
    re.compile(r"\b(?:gh[oprsu]_\w{16,500}|github_pat_\w{16,500}|glpat-[\w-]{16,500})"),  # GitHub, GitLab
    re.compile(r"\bsntr[yus]+_[\w.=+/-]{16,1000}"),  # Sentry
    re.compile(r"\beyJ[\w-]{8,2000}\.[\w-]{8,2000}\.[\w-]{0,2000}"),  # JSON Web Token
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),  # AWS
    re.compile(r"\bAIza[\w-]{35}"),  # Google API key
    re.compile(r"\bya29\.[\w.-]{16,2000}"),  # Google access token
    re.compile(r"\bsk[-_][\w-]{16,500}"),  # Stripe, OpenAI
    re.compile(r"\bGOCSPX-[\w-]{16,100}"),  # Google OAuth client
    re.compile(r"\b(?:npm_\w{20,200}|dckr_pat_[\w-]{16,200}|pypi-[\w-]{16,500})"),  # npm, Docker Hub, PyPI
    re.compile(r"\bglsa_\w{16,200}"),  # Grafana
    re.compile(r"\bSG\.[\w-]{16,100}\.[\w-]{16,100}"),  # SendGrid
    re.compile(r"\bhooks\.slack\.com/(?:services|workflows)/[\w/-]{8,200}"),  # Slack, webhook
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,4000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"),
)
_SIGN_IN = re.compile(r"\b(Bearer|Basic|token)([ =:]{1,3})[\w.~+/=-]{8,2000}", re.IGNORECASE)
_USER_INFO = re.compile(r"(://)(?:[^\s/@:]{0,200}:[^\s/]{1,500}|[^\s/@:?#]{16,200})@")
"""To the last @: a password may hold one. A long name alone is a token, as in Sentry's DSN."""
_NAMES = (
    r"password|passwd|passphrase|(?<=_)pass|\bpwd|credential|accountkey|secret|token|api[_-]?key|private[_-]?key"
    "|authorization|cookie|signature|(?<=[?&])sig"
)
_NAMED = re.compile(
    rf"""((?:{_NAMES})[\w-]{{0,20}})(["']?\s{{0,3}}[=:]\s{{0,3}})"""
    r"""(?:"(?!<secret>)(?:\\.|[^"\\]){1,2000}(?P<double>")|'(?!<secret>)(?:\\.|[^'\\]){1,2000}(?P<single>')"""
    r"""|(?P<open>["']?)(?!<secret>)[^\s"',;&<>]{1,2000})""",
    re.IGNORECASE,
)
"""A value in quotes is masked to the closing one: a passphrase has spaces."""
_FLAG = re.compile(rf"""(--?[\w-]{{0,30}}(?:{_NAMES})[\w-]{{0,20}}\s{{1,3}})[^\s<-]\S{{0,2000}}""", re.IGNORECASE)
SHORTEST_SECRET = 6
"""A shorter value is not masked by value: it would turn up in ordinary words."""


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without the values of ``secrets``, and without what has the form of a secret.

    Give it text that has been cut (`clean`): its time is proportional to the length.
    """
    for secret in sorted((one for one in secrets if len(one) >= SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, MASK)
    for form in _SECRET_FORMS:
        text = form.sub(MASK, text)
    text = _SIGN_IN.sub(rf"\1\2{MASK}", text)
    text = _USER_INFO.sub(rf"\1{MASK}@", text)
    return _FLAG.sub(rf"\1{MASK}", _NAMED.sub(_without_value, text))


def _without_value(found: re.Match[str]) -> str:
    closing = found["double"] or found["single"] or ""
    return f"{found[1]}{found[2]}{closing or found['open'] or ''}{MASK}{closing}"
