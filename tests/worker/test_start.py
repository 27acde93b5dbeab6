"""A run that was forked from the warm process is, for the worker that started it, the process that it started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.start import LENGTH, READY, SOCKET, ask, main

WARM = """
import os, sys
from worker import warm
warm.import_all = lambda: None
warm.main(sys.argv[1], int(sys.argv[2]))
exec(os.environ["RUN"])
"""
"""The warm process without what it imports; a run is what the client's variable RUN says, not a flow."""
WAIT_S = 30
Start = Callable[[str], "subprocess.Popen[str]"]


class Warm:
    """A warm process that belongs to this test as it would to a worker."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "listens" / "here"
        self.socket.parent.mkdir()
        read, self.worker = os.pipe()
        self.process = subprocess.Popen([sys.executable, "-c", WARM, self.socket, str(read)], pass_fds=(read,))
        os.close(read)
        until(self.socket.exists)

    def end_of_worker(self) -> None:
        """The descriptor that a worker holds is closed, as at the worker's end."""
        os.close(self.worker)
        self.worker = -1

    def stop(self) -> None:
        if self.worker >= 0:
            os.close(self.worker)
        self.process.wait(WAIT_S)


def until(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` is true. Raises TimeoutError."""
    ends = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"not true within {WAIT_S} s")
        time.sleep(0.01)


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    one = Warm(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def start(warm: Warm, tmp_path: Path) -> Start:
    """Start a client whose run executes this code."""

    def run(code: str) -> "subprocess.Popen[str]":
        environ = {**os.environ, SOCKET: str(warm.socket), "RUN": code}
        command = [sys.executable, "-m", "worker.start"]
        return subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    return run


def first_line(client: "subprocess.Popen[str]") -> str:
    assert client.stdout is not None
    return client.stdout.readline().strip()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_has_environment_folder_and_output_of_its_client(start: Start, warm: Warm, tmp_path: Path) -> None:
    """It is another process than the client, and the warm process's own environment is not in it."""
    client = start("print(os.getcwd(), os.environ['RUN'] != '', len(os.environ) > 1, os.getpid())")
    folder, *rest, pid = first_line(client).split()
    assert (Path(folder), rest) == (tmp_path, ["True", "True"])
    assert int(pid) not in (client.pid, warm.process.pid)
    assert client.wait(WAIT_S) == 0


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_client_ends_with_the_exit_code_of_its_run(start: Start, code: int) -> None:
    """A worker tells a failed process by it."""
    assert start(f"sys.exit({code})").wait(WAIT_S) == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_client_ends_by_the_signal_that_ended_its_run(start: Start, number: signal.Signals) -> None:
    """Out of memory looks the same as without a warm process."""
    assert start(f"os.kill(os.getpid(), {int(number)})").wait(WAIT_S) == -number


def test_a_signal_to_the_client_reaches_its_run_once(start: Start) -> None:
    """A cancelled run is told with SIGTERM, and can end in its own way."""
    caught = (
        "import signal, time; got = []; signal.signal(signal.SIGTERM, lambda n, f: got.append(n))\n"
        "print('up', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.2); sys.exit(40 + len(got))"
    )
    client = start(caught)
    assert first_line(client) == "up"
    client.terminate()
    assert client.wait(WAIT_S) == 41


def test_a_run_is_killed_with_its_client(start: Start) -> None:
    """SIGKILL cannot be passed on: the end of the client is noticed."""
    client = start("import time; print(os.getpid(), flush=True); time.sleep(60)")
    pid = int(first_line(client))
    client.kill()
    client.wait(WAIT_S)
    until(lambda: not is_alive(pid))


def test_a_run_goes_on_without_worker_and_warm_process(start: Start, warm: Warm) -> None:
    """A worker that is restarted leaves its runs alone."""
    client = start("import time; print('up', flush=True); sys.stdin.readline(); time.sleep(0.5); sys.exit(9)")
    assert first_line(client) == "up"
    warm.end_of_worker()
    assert warm.process.wait(WAIT_S) == 0
    assert not warm.socket.parent.exists()
    assert client.wait(WAIT_S) == 9


def test_many_runs_at_once_do_not_wait_for_each_other(start: Start) -> None:
    """Each has its own process, and its own exit code."""
    clients = [start(f"import time; print('up', flush=True); time.sleep(0.3); sys.exit({n})") for n in range(8)]
    assert [first_line(one) for one in clients] == ["up"] * 8
    assert [one.wait(WAIT_S) for one in clients] == list(range(8))


@pytest.mark.parametrize("path", ["", "nothing/here"])
def test_without_a_warm_process_the_client_becomes_the_engine(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run starts as it would under Prefect's own command, some seconds later."""
    became = []

    def execv(program: str, arguments: list[str]) -> None:
        became.append((program, arguments))
        raise SystemExit

    monkeypatch.setenv(SOCKET, path)
    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit):
        main()
    assert became == [(sys.executable, [sys.executable, "-m", "prefect.engine"])]


def test_a_dead_warm_process_takes_no_run(warm: Warm) -> None:
    """Its socket is still there."""
    warm.process.kill()
    warm.process.wait(WAIT_S)
    assert ask(str(warm.socket)) is None


def test_a_warm_process_that_dies_with_the_request_takes_no_run(tmp_path: Path) -> None:
    """The client learns it before the run has begun anywhere."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(ask, str(tmp_path / "socket"))
            listener.accept()[0].close()
            assert asked.result(WAIT_S) is None


def test_a_request_that_its_client_gave_up_starts_no_run(warm: Warm, tmp_path: Path) -> None:
    """The client has started the run in the other way: a second process would do it twice."""
    did = tmp_path / "did"
    request = f"{tmp_path}\0RUN=open({str(did)!r}, 'w')".encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(warm.socket))
        socket.send_fds(client, [LENGTH.pack(len(request))], [0, 1, 2])
        client.sendall(request)
        assert client.recv(1) == READY
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert not did.exists()
