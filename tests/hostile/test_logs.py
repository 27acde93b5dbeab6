"""What Prefect's own loggers print of a run can be stored, whatever stands in an error."""

import logging

import pytest
from prefect.logging.handlers import APILogHandler

import tasks.start  # noqa: F401  # every flow imports tasks, which installs the filter

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
TEXTS = ["a\x00b", "a\ud800b", "\x1b[2Ja", "x" * 1_000_000, "a\u202eb"]


def handler_of(name: str) -> APILogHandler:
    """The handler that sends this logger's lines to Prefect."""
    (found,) = [one for one in logging.getLogger(name).handlers if isinstance(one, APILogHandler)]
    return found


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize("text", TEXTS, ids=["NUL", "surrogate", "escape", "1 MB", "direction"])
def test_a_line_and_its_traceback_can_be_stored(name: str, text: str) -> None:
    """As a message, as an argument, and in an exception that was not foreseen."""
    handler = handler_of(name)
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        caught = (RuntimeError, error, error.__traceback__)
    for message, arguments, exc_info in (
        (text, (), None),
        ("%s", (text,), None),
        ("failed", (), caught),
        ("%d", (text,), None),
    ):
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, exc_info)
        assert handler.filter(record)
        stored = handler.format(record)
        stored.encode()
        assert not set(stored) & {"\x00", "\x1b", "\u202e"}
        assert len(stored) < 50_000
