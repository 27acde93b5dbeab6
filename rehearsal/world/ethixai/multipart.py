"""Just enough of multipart/form-data (RFC 7578) to read an uploaded file."""

import re

BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
NAME = re.compile(r'[;\s]name="([^"]*)"')
FILENAME = re.compile(r'[;\s]filename="([^"]*)"')


class BadForm(ValueError):
    """The body is no multipart form."""


def parts(content_type: str, body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Field name -> (file name or None, content). Raises BadForm."""
    boundary = BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise BadForm("the body must be multipart/form-data with a boundary")
    chunks = (b"\r\n" + body).split(b"\r\n--" + boundary.group(1).encode())
    if len(chunks) < 3 or not chunks[-1].startswith(b"--"):
        raise BadForm("the form does not end with its boundary")
    found: dict[str, tuple[str | None, bytes]] = {}
    for chunk in chunks[1:-1]:
        head, separator, content = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode(errors="replace")
        name, filename = NAME.search(text), FILENAME.search(text)
        if not separator or name is None:
            raise BadForm("a part of the form has no name")
        found[name.group(1)] = (filename.group(1) if filename else None, content)
    return found
