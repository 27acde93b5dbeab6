"""Start a child process that cannot outlive its parent, even one that is killed.

Run as a program, ``child.py PARENT PROGRAM [ARGUMENT ...]``, it asks the kernel (Linux) to be killed when the parent
ends, then becomes PROGRAM. A PROGRAM ending in ``.py`` is run in this interpreter, which saves starting a second one:
it has the standard library and nothing else. This file imports nothing of ours: it is started by path, many times.
"""

import os
import sys
from pathlib import Path

SYSTEM_PROGRAMS = "/usr/sbin:/sbin"
"""Where Debian puts haproxy; a user who is not root has neither on their PATH."""
PR_SET_PDEATHSIG = 1
SIGKILL = 9


def command(*program: str | os.PathLike[str]) -> list[str]:
    """The argument list that runs ``program`` tied to the calling process.

    The kernel ties a child to the *thread* that started it: start children from a thread that lives on.
    """
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *map(str, program)]


def _follow(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent was gone before the child began")


if __name__ == "__main__":
    _follow(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    if sys.argv[0].endswith(".py"):
        import runpy

        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PROGRAMS}"
        os.execvp(sys.argv[0], sys.argv)  # noqa: S606  # the program is one that we name
