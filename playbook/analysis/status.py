"""How a request ended, read from what a label says: a code, a class, a word of HTTP or of gRPC."""

import functools
import re
from enum import StrEnum
from http import HTTPStatus


class Codes(StrEnum):
    """What numbers below 100 mean."""

    AUTO = "auto"  # gRPC codes where the label's name says so; the digit of a class where it says that
    HTTP = "http"
    GRPC = "grpc"


GRPC = (
    ("ok", 200),
    ("cancelled", 499),
    ("unknown", 500),
    ("invalidargument", 400),
    ("deadlineexceeded", 504),
    ("notfound", 404),
    ("alreadyexists", 409),
    ("permissiondenied", 403),
    ("resourceexhausted", 429),
    ("failedprecondition", 400),
    ("aborted", 409),
    ("outofrange", 400),
    ("unimplemented", 501),
    ("internal", 500),
    ("unavailable", 503),
    ("dataloss", 500),
    ("unauthenticated", 401),
)
"""A code's name, by its number, and the HTTP status that stands for it. Source: google/rpc/code.proto."""

WORDS: dict[str, str] = {
    **{re.sub(r"[^a-z]", "", one.phrase.lower()): str(one.value) for one in HTTPStatus},
    **{name: str(status) for name, status in GRPC},
    "canceled": "499",
    **dict.fromkeys(("success", "successful", "succeeded"), "2xx"),
    "informational": "1xx",
    **dict.fromkeys(("redirect", "redirection"), "3xx"),
    "clienterror": "4xx",
    **dict.fromkeys(("servererror", "error", "exception", "fail", "failed", "failure", "timeout"), "5xx"),
}
"""A word in lower case without blanks or signs -> a status, or its class."""

CODE = re.compile(r"(?:http(?:/[\d.]+)?[ _-]?)?([1-5]\d\d)(?:\.0+)?(?:[ _-]+[a-z' _-]+)?", re.IGNORECASE)
CLASS = re.compile(r"(?:http[ _-]?)?([1-5])(?:xx|\*\*|\.\.|__)", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def status_of(text: str, label: str = "status", codes: Codes = Codes.AUTO) -> str | None:
    """``"503"``, or ``"5xx"`` where only the class is said; None where ``text`` says neither.

    ``label``: who says it. A bare digit is a gRPC code under ``grpc_code``, a class under ``status_class``, and neither
    under ``code``, where it could be both. Other numbers below 17 are gRPC codes.
    """
    text = text.strip()
    if found := CODE.fullmatch(text):
        return found[1]
    if found := CLASS.fullmatch(text):
        return f"{found[1]}xx"
    if text.isdecimal() and len(text) <= 2:
        return _number(int(text), label.lower(), codes)
    return WORDS.get(re.sub(r"[^a-z]", "", text.lower())) if re.search("[a-zA-Z]", text) else None


def _number(number: int, label: str, codes: Codes) -> str | None:
    """A number of one or two digits."""
    is_grpc = codes is Codes.GRPC or (codes is Codes.AUTO and ("grpc" in label or number > 5))
    if is_grpc:
        return str(GRPC[number][1]) if number < len(GRPC) else None
    return f"{number}xx" if 1 <= number <= 5 and (codes is Codes.HTTP or "class" in label) else None
