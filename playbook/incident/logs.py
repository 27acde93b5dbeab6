"""What a revision wrote, one line at a time."""

from typing import Annotated

from pydantic import BeforeValidator

from playbook.base import Frozen
from playbook.text import LINE_MAX, clean


class LogLine(Frozen):
    """One line of a log. ``insert_id`` tells it from another with the same text and time (unix seconds)."""

    at_s: float
    severity: str
    text: Annotated[str, BeforeValidator(lambda text: clean(text, LINE_MAX) if isinstance(text, str) else text)]
    insert_id: str
