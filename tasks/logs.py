"""What a run logs is clean before it reaches Prefect: PostgreSQL refuses NUL, and one line would lose a whole batch.

Our own lines are cut and cleaned where text comes in. Prefect's loggers also print errors that were not foreseen, with
whatever stands in them.
"""

import logging

from prefect.logging.configuration import ensure_logging_setup
from prefect.logging.handlers import APILogHandler

from playbook.text import clean

LOG_MAX = 20_000
"""Characters of one log line, and of one traceback."""
LOGGERS = ("prefect", "prefect.flow_runs", "prefect.task_runs")


class CleanLines(logging.Filter):
    """Lets every record through, with its message and its traceback cleaned."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        record.msg, record.args = clean(message, LOG_MAX), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = clean(record.exc_text, LOG_MAX)
        return True


def clean_logs() -> None:
    """Every handler that sends a run's log to Prefect cleans it. Doing it twice is as good as once."""
    ensure_logging_setup()
    for name in LOGGERS:
        for handler in logging.getLogger(name).handlers:
            is_done = any(isinstance(one, CleanLines) for one in handler.filters)
            if isinstance(handler, APILogHandler) and not is_done:
                handler.addFilter(CleanLines())
