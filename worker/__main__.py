"""``python -m worker [--work-queue QUEUE]``: a Prefect worker, and a warm process that its runs are forked from.

The arguments are those of ``prefect worker start``. This process becomes the worker: its process id, signals and exit
status are the worker's.
"""

import os
import subprocess
import sys
import tempfile

from worker.start import SOCKET

POOL = "playbook"


def main() -> None:
    """Start the warm process, which ends when the worker has ended, then become the worker."""
    ends_with_us, ours = os.pipe()
    os.set_inheritable(ours, True)  # kept open by the worker, by nothing else
    path = os.path.join(tempfile.mkdtemp(prefix="playbook-worker-"), "socket")  # readable by this user alone
    subprocess.Popen([sys.executable, "-m", "worker.warm", path, str(ends_with_us)], pass_fds=(ends_with_us,))
    os.close(ends_with_us)
    os.environ[SOCKET] = path
    start = ["worker", "start", "--pool", POOL, "--type", "process", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *start])  # noqa: S606  # the program is Prefect


if __name__ == "__main__":
    main()
