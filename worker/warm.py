"""The warm process of a worker: it has imported Prefect, every flow and the vendors' clients, and forks for each run.

``python -m worker.warm SOCKET DESCRIPTOR`` listens at SOCKET and ends when DESCRIPTOR can no longer be read from: the
worker is gone. Runs under way go on without either, as they do without a worker.

For each run two processes are forked. The first follows the run for the client (`worker.start`): it passes signals on,
sends SIGKILL if the client is gone, and tells it how the run ended. The second is the run. The warm process itself runs
nothing, and has one thread and no connection: a fork of it is a process that has just imported.
"""

import contextlib
import functools
import gc
import importlib
import os
import pkgutil
import runpy
import select
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pydantic
from prefect.context import refresh_global_settings_context
from prefect.settings import get_current_settings

from worker.start import ENVIRONMENT, GO, LENGTH, READY, STATUS

ENGINE = "prefect.engine"
VENDORS = (
    "google.cloud.run_v2",
    "google.cloud.logging_v2",
    "google.cloud.secretmanager_v1",
    "google.oauth2.credentials",
    "google.oauth2.service_account",
    "grpc._plugin_wrapping",
    "prometheus_api_client.prometheus_connect",
    "pymongo",
    "scipy.special",
)
"""What our code imports when it first needs it."""
PREFECT = (
    "anyio._backends._asyncio",
    "prefect._internal.metrics",
    "prefect._internal.observers",
    "prefect._vendor.croniter.croniter",
    "prefect.concurrency.services",
    "prefect.deployments.flow_runs",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.utilities.visualization",
)
"""What Prefect imports when a run first needs it."""


def main(path: str, worker: int) -> bool:
    """Listen, import, then fork for each connection. Returns in the process of a run, when the run is to begin.

    Returns whether Prefect's settings are those that this process has read.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)  # clients wait until everything is imported
    import_all()
    read = settings_read()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what follows a run needs no wait
    while True:
        ready, _, _ = select.select([listener.fileno(), worker], [], [])
        if worker in ready:
            with contextlib.suppress(OSError):  # systemd has removed the private /tmp of a worker that was stopped
                os.unlink(path)
                os.rmdir(os.path.dirname(path))
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(worker)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            become_run(connection)
            return settings_among(os.environ) == read
        connection.close()


def import_all() -> None:
    """Import what a run imports, and do once what each run would do again."""
    import flows

    for one in pkgutil.iter_modules(flows.__path__, "flows."):
        importlib.import_module(one.name)
    for name in (*PREFECT, *VENDORS):
        importlib.import_module(name)
    complete_models(pydantic.BaseModel)
    share_certificates()
    share_keys()
    ask_for_no_storage()
    walk_no_arguments()
    name_no_relatives()
    begin_unwatched()
    gc.collect()
    gc.freeze()  # the pages of what was imported stay shared between all runs


def settings_read() -> dict[str, str]:
    """Prefect's settings of this process, in the variables in which its worker hands them to a run."""
    told = get_current_settings().to_environment_variables(exclude_unset=True)
    return settings_among(os.environ | told | ENVIRONMENT)


def settings_among(environ: Mapping[str, str]) -> dict[str, str]:
    """Prefect's settings among these variables. What it tells a single run (``PREFECT__…``) is none."""
    return {name: value for name, value in environ.items() if name.startswith("PREFECT_") and name[8:9] != "_"}


def complete_models(base: type[pydantic.BaseModel]) -> None:
    """Prefect's models are completed when each is first used; here once for all runs (260 of them, 0.4 s)."""
    for model in base.__subclasses__():
        if not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)
        complete_models(model)


def share_certificates() -> None:
    """A file of trusted certificates is read once in this process and its forks: each HTTP client would read it again.

    That takes 30 ms of CPU time. A rollback makes about ten clients before it moves a user, and its worker two. The
    contexts are not changed after they are made. A file that has changed is read again. Whatever names more than a
    file gets a context of its own.
    """
    import certifi

    make = ssl.create_default_context
    read = functools.cache(lambda purpose, cafile, changed_ns: make(purpose, cafile=cafile))

    def shared(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **named: Any) -> ssl.SSLContext:
        if (cafile := named.get("cafile")) is None or len(named) > 1:
            return make(purpose, **named)
        return read(purpose, cafile, os.stat(cafile).st_mtime_ns)

    vars(ssl).update(create_default_context=shared)
    with contextlib.suppress(OSError):  # a file that is not there is told where it is needed
        ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())


def share_keys() -> None:
    """A service account's private key is checked once in this process and its forks. Each of a run's two clients of
    Google's would check it again: 60 ms of CPU time in which nothing else of the run's process goes on."""
    import google.auth
    from google.auth.crypt import RSASigner

    checked = functools.cache(RSASigner.from_string)
    setattr(RSASigner, "from_string", staticmethod(checked))  # noqa: B010  # mypy knows no other way to say it
    if path := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        with contextlib.suppress(Exception):  # whatever is wrong with it is told where it is needed
            google.auth.load_credentials_from_file(path)  # type: ignore[no-untyped-call]


def ask_for_no_storage() -> None:
    """No run keeps a result, so it does not ask the server twice where the server would have it kept."""
    from prefect import results

    vars(results).update(_read_server_default_result_storage_block_id=lambda: None)


def walk_no_arguments() -> None:
    """No argument of a task is searched for results of other tasks, to wait for and to draw a line from: ours are
    values. Prefect would walk twice through all of them, the whole environment among them: 20 ms of CPU time a task."""
    from prefect import task_engine
    from prefect.utilities import engine

    vars(engine).update(collect_task_run_inputs_sync=lambda *_, **__: set())
    vars(task_engine).update(visit_collection=lambda value, **_: value)


def name_no_relatives() -> None:
    """An event names its run and its step. For its flow, deployment, queue and pool too Prefect would ask the server
    four questions, beside the first ones of a rollback."""
    from prefect.events import related

    async def nothing(**_: Any) -> dict[str, Any]:
        return {}

    vars(related).update(_get_and_cache_related_object=nothing)


def begin_unwatched() -> None:
    """A run begins before it is watched for a person who pauses it. Its state is read once more when it has begun."""
    from prefect import _flow_run_suspension as suspension

    class Unawaited(threading.Event):
        """``wait`` returns at once."""

        def wait(self, timeout: float | None = None) -> bool:
            return True

    vars(suspension).update(threading=SimpleNamespace(**vars(threading) | {"Event": Unawaited}))


def become_run(connection: socket.socket) -> None:
    """Fork the run: it takes over the environment, folder and output of the client, and returns. Then follow it."""
    os.setsid()  # signals come from the client alone, not once more to the whole group
    header, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    (length,) = LENGTH.unpack(header)
    folder, *environ = connection.recv(length, socket.MSG_WAITALL).split(b"\0")
    connection.sendall(READY)
    if connection.recv(1) != GO:
        os._exit(0)  # the client gave up, and has started the run in the other way
    run = os.fork()
    if run:
        for one in descriptors:
            os.close(one)
        follow(run, connection)
    connection.close()
    for number, one in enumerate(descriptors):
        os.dup2(one, number)
        os.close(one)
    os.environ.clear()
    os.environb.update((name, value) for name, _, value in (one.partition(b"=") for one in environ))
    os.chdir(folder)


def follow(run: int, connection: socket.socket) -> None:
    """Do to the process ``run`` what is done to the client, and tell the client how it ended. Does not return."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    watched = [woken, connection.fileno()]
    while (status := os.waitpid(run, os.WNOHANG)) == (0, 0):
        ready, _, _ = select.select(watched, [], [])
        if woken in ready:
            os.read(woken, 1)
        if connection.fileno() in ready:
            number = connection.recv(1)
            os.kill(run, number[0] if number else signal.SIGKILL)
            if not number:
                watched.remove(connection.fileno())
    with contextlib.suppress(OSError):
        connection.sendall(STATUS.pack(status[1]))
    os._exit(0)


if __name__ == "__main__":
    if not main(sys.argv[1], int(sys.argv[2])):
        refresh_global_settings_context()  # 0.1 s of CPU time
    sys.argv = [ENGINE]
    runpy.run_module(ENGINE, run_name="__main__", alter_sys=True)
