"""How v1 spells what v2 has as fields: annotations, their values, and the version of an object."""

import base64
import contextlib
from typing import Any

from google.api import launch_stage_pb2
from google.cloud import run_v2

RUN, AUTOSCALING, SERVING = "run.googleapis.com", "autoscaling.knative.dev", "serving.knative.dev"
LOCATION_LABEL = "cloud.googleapis.com/location"
MIN_SCALE, MAX_SCALE = f"{RUN}/minScale", f"{RUN}/maxScale"
SCALING_MODE, MANUAL_COUNT = f"{RUN}/scalingMode", f"{RUN}/manualInstanceCount"
TEMPLATE_MIN_SCALE, TEMPLATE_MAX_SCALE = f"{AUTOSCALING}/minScale", f"{AUTOSCALING}/maxScale"
INGRESS, LAUNCH_STAGE = f"{RUN}/ingress", f"{RUN}/launch-stage"
TEXTS = {
    "description": f"{RUN}/description",
    "client": f"{RUN}/client-name",
    "client_version": f"{RUN}/client-version",
}
"""Annotations that hold a string field of a v2 service."""
FLAGS = {
    "invoker_iam_disabled": f"{RUN}/invoker-iam-disabled",
    "default_uri_disabled": f"{RUN}/default-url-disabled",
    "iap_enabled": f"{RUN}/iap-enabled",
}
"""Annotations ``'true'`` that hold a bool field of a v2 service."""
TEMPLATE_FLAGS = {
    "session_affinity": f"{RUN}/sessionAffinity",
    "health_check_disabled": f"{RUN}/health-check-disabled",
}
CPU_THROTTLING, CPU_BOOST = f"{RUN}/cpu-throttling", f"{RUN}/startup-cpu-boost"
EXECUTION_ENVIRONMENT = f"{RUN}/execution-environment"
_Ingress = run_v2.IngressTraffic
INGRESS_WORDS = {
    "all": int(_Ingress.INGRESS_TRAFFIC_ALL),
    "internal": int(_Ingress.INGRESS_TRAFFIC_INTERNAL_ONLY),
    "internal-and-cloud-load-balancing": int(_Ingress.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER),
}
STAGES = dict(launch_stage_pb2.LaunchStage.items())
GENERATIONS = {
    "gen1": int(run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN1),
    "gen2": int(run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2),
}


def word_for(words: dict[str, int], number: int) -> str:
    """The v1 word of a v2 enum's number; empty for one that v1 has no word for."""
    return next((word for word, value in words.items() if value == number), "")


def version_text(version_us: int) -> str:
    """A resourceVersion: opaque to clients."""
    return base64.urlsafe_b64encode(version_us.to_bytes(8, "big")).decode().rstrip("=")


def version_number(text: Any) -> int | str:
    """The microseconds in a resourceVersion, or the text itself when it is none of this server's."""
    with contextlib.suppress(ValueError, AttributeError):
        raw = base64.urlsafe_b64decode(f"{text}=")
        if len(raw) == 8:
            return int.from_bytes(raw, "big")
    return str(text)
