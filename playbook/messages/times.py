"""Moments and durations as people read them, in UTC."""

from datetime import UTC, datetime


def clock(at_s: float) -> str:
    """``14:00`` for a unix time."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def clock_s(at_s: float) -> str:
    """``14:00:07`` for a unix time."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def day(at_s: float) -> str:
    """``2025-11-16`` for a unix time."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def minutes(seconds: float) -> str:
    """``15 minutes``, ``1 hour``, ``7 days``, ``20 seconds``: whole units, the largest that fits."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    if seconds >= 60:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds:.0f} seconds"


def moment(at_s: float) -> str:
    """``Thu 26 Nov 14:00 UTC`` for a unix time."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%a %d %b %H:%M UTC")
