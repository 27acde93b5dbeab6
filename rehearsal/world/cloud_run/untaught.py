"""Fields that would change how a service behaves and that the stand-in does nothing about: it says so, and never stores
them as if it did."""

from collections.abc import Iterable
from typing import Any

from google.cloud import run_v2

from rehearsal.world.rpc import Code, RefusalError

SERVICE = ("binary_authorization", "iap_enabled", "multi_region_settings")
TEMPLATE = ("vpc_access", "volumes", "service_mesh", "node_selector", "session_affinity", "health_check_disabled")
CONTAINER = (
    *("command", "args", "working_dir", "source_code", "volume_mounts", "depends_on"),
    *("liveness_probe", "readiness_probe", "startup_probe"),
)
NO_INGRESS = run_v2.IngressTraffic.INGRESS_TRAFFIC_NONE
PORT_OPENS = run_v2.Probe.pb()(
    tcp_socket=run_v2.TCPSocketAction.pb()(port=8080), timeout_seconds=240, period_seconds=240, failure_threshold=1
)
"""The startup probe that Cloud Run gives a container which names none; it is what the stand-in does."""


def check_taught(where: str, wanted: Any, current: Any) -> None:
    """Raise RefusalError (UNIMPLEMENTED) that names the first field which the stand-in would not honour.

    A template that stays as it is, is not looked at: it may have come over v1, which keeps what it does not know.
    """
    if wanted.ingress == NO_INGRESS:
        raise _untaught(f"{where}.ingress")
    _refuse(where, wanted, SERVICE)
    if wanted.template == current.template:
        return
    _refuse(f"{where}.template", wanted.template, TEMPLATE)
    for container in wanted.template.containers:
        _refuse(f"{where}.template.containers", container, CONTAINER)
        if any(variable.HasField("value_source") for variable in container.env):
            raise _untaught(f"{where}.template.containers.env.value_source")


def _refuse(where: str, message: Any, names: Iterable[str]) -> None:
    for field, value in message.ListFields():  # what is set; for a scalar, to other than its default
        if field.name in names and not (field.name == "startup_probe" and value == PORT_OPENS):
            raise _untaught(f"{where}.{field.name}")


def _untaught(field: str) -> RefusalError:
    return RefusalError(Code.UNIMPLEMENTED, f"{field} is not taught: the stand-in would store it without any effect.")
