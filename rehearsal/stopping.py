"""Ctrl-C: what is under way ends once, and leaves nothing behind."""

import asyncio
import contextlib
import signal

STOPPING = "Stopping everything. This takes some seconds."
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ends_at_a_signal() -> asyncio.Event:
    """The current task is cancelled at the first SIGINT, SIGTERM or SIGHUP, and the event is set: for what has
    swallowed the cancellation. A second signal does not disturb the clean-up."""
    task, stopped = asyncio.current_task(), asyncio.Event()
    assert task is not None

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            task.cancel()
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(STOPPING, flush=True)

    for one in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(one, stop)
    return stopped


def it_has_stopped() -> None:
    """Everything has ended: a signal that comes now, while Python ends, changes nothing any more."""
    for one in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(one)
        signal.signal(one, signal.SIG_IGN)
