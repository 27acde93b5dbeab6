"""``python -m worker.server ARGUMENTS``: ``prefect server ARGUMENTS``, whose background services end together.

Prefect starts each background service as a task and does not look at it again. One that ends with an error, because the
database was away when it started, is missed by nothing: the process lives on, and its automations start nothing any
more; a release that dies then waits for recovery's look every ten minutes. Here the process ends with the first service
that fails, and systemd or the container engine starts all of them again.
"""

import asyncio
import functools
import os
import runpy
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from prefect.logging import get_logger
from prefect.server.services.base import Service

EXIT = 70
"""Exit status where a service has failed (EX_SOFTWARE of sysexits.h)."""


def ends_the_process(start: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """``start`` of a service; its error is logged, and ends the process."""

    @functools.wraps(start)
    async def watched(service: Any) -> None:
        try:
            await start(service)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the service is gone
            get_logger("worker.server").exception(
                "The background service %s has failed. This process ends, so that all of them start again.",
                type(service).__name__,
            )
            os._exit(EXIT)

    return watched


def main() -> None:
    """Prefect's own command, with every service watched."""
    for service in Service.enabled_services():
        setattr(service, "start", ends_the_process(service.start))  # noqa: B010  # mypy knows no other way to say it
    sys.argv = ["prefect", "server", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
