"""``python -m worker [--work-queue QUEUE]``: our worker, and a warm process to fork its runs from.

The arguments are those of ``prefect worker start``. This process becomes the worker: its process id, signals and exit
status are the worker's.
"""

import os
import subprocess
import sys
import tempfile

from worker.start import ENVIRONMENT, SOCKET

POOL = "playbook"
QUERY = "PREFECT_WORKER_QUERY_SECONDS"
QUERY_S = "1"
"""Seconds between two looks for work. Prefect's own value is 10."""


def main() -> None:
    """Start the warm process, which ends when the worker has ended, then become the worker."""
    os.environ.setdefault(QUERY, QUERY_S)
    ends_with_us, ours = os.pipe()
    os.set_inheritable(ours, True)  # kept open by the worker, by nothing else
    path = os.path.join(tempfile.mkdtemp(prefix="playbook-worker-"), "socket")  # readable by this user alone
    warm = [sys.executable, "-m", "worker.warm", path, str(ends_with_us)]
    subprocess.Popen(warm, pass_fds=(ends_with_us,), env=os.environ | ENVIRONMENT)
    os.close(ends_with_us)
    os.environ[SOCKET] = path
    os.execv(sys.executable, [sys.executable, "-m", "worker.bound", "--pool", POOL, *sys.argv[1:]])  # noqa: S606  # ours


if __name__ == "__main__":
    main()
