"""``python -m worker.start``: the command of the work pool. Has a flow run's process forked from the warm one.

It imports next to nothing, hands over its environment, folder and output, and then stands for the run's process: a
signal that it gets is passed on, and it ends as the run's process ends. Where there is no warm process (yet, or any
more), it becomes ``python -m prefect.engine``, which does the same and needs some seconds to import it all.
"""

import _signal  # type: ignore[import-not-found]  # what json, signal and socket import takes longer than all else here
import _socket
import os
import struct
import sys

SOCKET = "PLAYBOOK_WARM_SOCKET"
"""The environment variable that says where the warm process listens."""
ENVIRONMENT = {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false", "PREFECT_LOGGING_COLORS": "false"}
"""What a run's process gets beside the worker's own variables, and the warm process too, so that a run finds Prefect's
settings read. The worker has compared the versions already, and a run's console is shown nowhere."""
LENGTH = struct.Struct("!I")
STATUS = struct.Struct("!i")
PASSED_ON = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
READY, GO = b"r", b"g"
WAIT_S = 20.0
"""How long to wait for a warm process that is still importing, or hangs."""


def main() -> None:
    """Start the run in one of the two ways, and end as it ends."""
    connection = ask(os.environ.get(SOCKET, ""))
    if connection is None:
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])  # noqa: S606  # the program is Prefect
    end_as(followed(connection))


def ask(path: str) -> _socket.socket | None:
    """Hand environment, folder and output of this process to the warm one. None if it does not take them."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(WAIT_S)
    request = b"\0".join([os.getcwdb(), *(b"%b=%b" % one for one in os.environb.items())])
    descriptors = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))
    try:
        connection.connect(path)
        connection.sendmsg([LENGTH.pack(len(request))], [descriptors])
        connection.sendall(request)
        if connection.recv(1) != READY:
            raise ConnectionError("the warm process ended")
        connection.sendall(GO)
    except OSError:
        connection.close()
        return None
    connection.settimeout(None)
    return connection


def followed(connection: _socket.socket) -> int:
    """Pass signals on until the run's process has ended. Returns its wait status; that of SIGKILL if none was told."""
    for one in PASSED_ON:
        _signal.signal(one, lambda number, _: connection.sendall(bytes([number])))
    status = connection.recv(STATUS.size, _socket.MSG_WAITALL)
    return int(STATUS.unpack(status)[0]) if len(status) == STATUS.size else _signal.SIGKILL


def end_as(status: int) -> None:
    """End with the exit code, or by the signal, of this wait status (``os.wait``)."""
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number != _signal.SIGKILL:
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
