"""What a revision wrote, one line at a time."""

from playbook.base import Frozen


class LogLine(Frozen):
    """One line of a log. ``insert_id`` tells it from another with the same text and time (unix seconds)."""

    at_s: float
    severity: str
    text: str
    insert_id: str
