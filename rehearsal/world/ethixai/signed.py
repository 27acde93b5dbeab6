"""Tokens and ids that carry their own content.

haproxy sends each request to any instance of any revision, and there is no database. So every instance must understand
the tokens and ids of the others: each is a small JSON object with a signature. As a consequence nothing is stored, a
deletion has no effect, and a registered password cannot be compared on another instance.
"""

import base64
import binascii
import hashlib
import hmac
import json

SECRET = b"ethixai rehearsal: guards nothing"
SIGNATURE_CHARS = 16


class Forged(ValueError):
    """The text is no token or id that an instance signed."""


def sign(kind: str, **fields: object) -> str:
    """A text of URL-safe characters that `read` turns back into ``fields``."""
    payload = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{kind}_{payload}.{_signature(kind, payload)}"


def read(kind: str, text: str) -> dict[str, object]:
    """The fields of a text that `sign` made for the same kind. Raises Forged."""
    prefix, _, rest = text.partition("_")
    payload, _, signature = rest.rpartition(".")
    if prefix != kind or not hmac.compare_digest(signature.encode(), _signature(kind, payload).encode()):
        raise Forged(f"not a {kind}")
    try:
        fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        raise Forged(f"not a {kind}") from None
    return dict(fields)


def _signature(kind: str, payload: str) -> str:
    return hmac.new(SECRET, f"{kind}_{payload}".encode(), hashlib.sha256).hexdigest()[:SIGNATURE_CHARS]
