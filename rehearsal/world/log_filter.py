"""A subset of the Logging query language: a filter becomes a function of an entry.

Implemented: AND, OR, NOT, ``-``, parentheses and juxtaposition (NOT binds tighter than OR, OR tighter than AND);
``= != : =~ !~ > >= < <=`` on the fields of `FIELDS` and under ``resource.labels``, ``labels`` and ``jsonPayload``.
Strings compare without case, ``:`` is "contains", ``=~`` an unanchored RE2 pattern. A comparison with a field that an
entry does not have is false, ``!=`` included. Anything else is an error that says what is not known.
"""

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = {
    "DEFAULT": 0, "DEBUG": 100, "INFO": 200, "NOTICE": 300, "WARNING": 400,
    "ERROR": 500, "CRITICAL": 600, "ALERT": 700, "EMERGENCY": 800,
}  # fmt: skip
FIELDS = ("resource.type", "severity", "timestamp", "logName", "textPayload", "insertId")
TREES = ("resource.labels", "labels", "jsonPayload")
MAX_CHARS = 20_000

Value = str | float | bool | None


class FilterError(ValueError):
    """The filter is wrong, or says something that is not taught here."""


@dataclass(frozen=True)
class Entry:
    """A log entry as filters see it. ``timestamp`` is aware; ``seq`` is the order of arrival."""

    seq: int
    log_name: str
    timestamp: datetime.datetime
    severity: int
    resource_type: str
    insert_id: str
    text: str | None = None
    json: Mapping[str, object] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    resource_labels: Mapping[str, str] = field(default_factory=dict)


Predicate = Callable[[Entry], bool]

_TOKENS = re.compile(
    r"""\s*(?: (?P<op>=~|!~|!=|>=|<=|=|:|>|<) | (?P<paren>[()]) | "(?P<quoted>(?:[^"\\]|\\.)*)" |
        (?P<minus>-)(?=[(A-Za-z]) | (?P<word>[^\s()"=!<>:]+) )""",
    re.VERBOSE | re.DOTALL,
)
_NOT_RE2 = re.compile(r"\(\?<?[=!]|\\[1-9]")
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def parse(text: str) -> Predicate:
    """The filter as a function. Raises FilterError."""
    if len(text) > MAX_CHARS:
        raise FilterError(f"the filter has {len(text)} characters; at most {MAX_CHARS} are allowed")
    parser = _Parser(list(_tokens(text)))
    if not parser.tokens:
        return lambda entry: True
    predicate = parser.conjunction()
    if parser.tokens:
        raise FilterError(f"unexpected {parser.tokens[0].text!r}")
    return predicate


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKENS.match(text, at, end)
        if not found or not found.lastgroup:
            raise FilterError(f"cannot read the filter from {text[at : at + 20]!r} on")
        value = found[found.lastgroup]
        yield _Token(found.lastgroup, _unquoted(value) if found.lastgroup == "quoted" else value)
        at = found.end()


def _unquoted(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text, flags=re.DOTALL)


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens

    def conjunction(self) -> Predicate:
        terms = [self._disjunction()]
        while self.tokens and self.tokens[0].text != ")":
            if not self._take("word", "AND") and self._is_word("OR"):
                raise FilterError("OR has nothing on its left")
            terms.append(self._disjunction())
        return terms[0] if len(terms) == 1 else lambda entry: all(term(entry) for term in terms)

    def _disjunction(self) -> Predicate:
        terms = [self._negation()]
        while self._take("word", "OR"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda entry: any(term(entry) for term in terms)

    def _negation(self) -> Predicate:
        if self._take("word", "NOT") or self._take("minus", "-"):
            term = self._negation()
            return lambda entry: not term(entry)
        if self._take("paren", "("):
            inside = self.conjunction()
            if not self._take("paren", ")"):
                raise FilterError("a parenthesis is not closed")
            return inside
        return self._comparison()

    def _comparison(self) -> Predicate:
        if len(self.tokens) < 2 or self.tokens[0].kind not in ("word", "quoted") or self.tokens[1].kind != "op":
            said = self.tokens[0].text if self.tokens else "the end"
            raise FilterError(f"a comparison is missing at {said!r}; search without a field is not taught")
        path, operator = self.tokens.pop(0).text, self.tokens.pop(0).text
        if not self.tokens or self.tokens[0].kind not in ("word", "quoted"):
            raise FilterError(f"{path}{operator} has no value; lists of values are not taught")
        return _compare(path, operator, self.tokens.pop(0))

    def _is_word(self, text: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == _Token("word", text)

    def _take(self, kind: str, text: str) -> bool:
        if self.tokens and self.tokens[0] == _Token(kind, text):
            self.tokens.pop(0)
            return True
        return False


def _compare(path: str, operator: str, value: _Token) -> Predicate:
    if path == "severity":
        return _compare_severity(operator, value.text)
    if path == "timestamp":
        return _compare_timestamp(operator, value.text)
    get = _field(path)
    if operator == ":" and value == _Token("word", "*"):
        return lambda entry: get(entry) is not None
    if operator in ("=~", "!~"):
        pattern = _pattern(value.text)
        wanted = operator == "=~"
        return lambda entry: (found := get(entry)) is not None and bool(pattern.search(str(found))) is wanted
    if operator == ":":
        needle = value.text.casefold()
        return lambda entry: (found := get(entry)) is not None and needle in _text(found).casefold()
    relation = _RELATIONS[operator]
    return lambda entry: (found := get(entry)) is not None and _related(relation, found, value.text)


def _related(relation: Callable[[Any, Any], bool], found: Value, wanted: str) -> bool:
    """Compare as numbers where the entry has a number, else as text without case."""
    if isinstance(found, float) and not isinstance(found, bool):
        try:
            return relation(found, float(wanted))
        except ValueError:
            return False
    return relation(_text(found).casefold(), wanted.casefold())


def _text(found: Value) -> str:
    return str(found).lower() if isinstance(found, bool) else str(found)


def _pattern(text: str) -> re.Pattern[str]:
    if _NOT_RE2.search(text):
        raise FilterError(f"{text!r} is no RE2 pattern: look-around and back-references are not known")
    try:
        return re.compile(text)
    except re.error as error:
        raise FilterError(f"{text!r} is no pattern: {error}") from error


def _compare_severity(operator: str, text: str) -> Predicate:
    wanted = SEVERITIES.get(text.upper(), int(text) if text.isdigit() else None)
    if wanted is None or operator not in _RELATIONS:
        raise FilterError(f"severity{operator}{text} is not known; severities are {', '.join(SEVERITIES)}")
    return lambda entry: _RELATIONS[operator](entry.severity, wanted)


def _compare_timestamp(operator: str, text: str) -> Predicate:
    if operator not in _RELATIONS:
        raise FilterError(f"timestamp{operator} is not known")
    # Python 3.11 reads at most six digits of a second's fraction.
    short = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        wanted = datetime.datetime.fromisoformat(short)
    except ValueError as error:
        raise FilterError(f"timestamp: {text!r} is no RFC 3339 time") from error
    wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=datetime.UTC)
    return lambda entry: _RELATIONS[operator](entry.timestamp, wanted)


def _field(path: str) -> Callable[[Entry], Value]:
    simple: dict[str, Callable[[Entry], Value]] = {
        "resource.type": lambda entry: entry.resource_type,
        "logName": lambda entry: entry.log_name,
        "textPayload": lambda entry: entry.text,
        "insertId": lambda entry: entry.insert_id,
    }
    if path in simple:
        return simple[path]
    for tree in TREES:
        if path.startswith(f"{tree}."):
            key = path.removeprefix(f"{tree}.")
            return _branch(tree, key)
    known = ", ".join([*FIELDS, *(f"{tree}.*" for tree in TREES)])
    raise FilterError(f"the field {path!r} is not known; known are {known}")


def _branch(tree: str, key: str) -> Callable[[Entry], Value]:
    if tree == "resource.labels":
        return lambda entry: entry.resource_labels.get(key)
    if tree == "labels":
        return lambda entry: entry.labels.get(key.strip('"'))
    steps = key.split(".")

    def backfill(entry: Entry) -> Value:
        at: object = entry.json
        for step in steps:
            at = at.get(step) if isinstance(at, Mapping) else None
        if isinstance(at, bool | str):
            return at
        return float(at) if isinstance(at, int | float) else None

    return backfill
