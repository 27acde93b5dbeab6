"""What a v1 object says that the v2 message has no place for: taken out of what is sent, put back into what is read."""

import copy
from collections.abc import Collection
from typing import Any

from rehearsal.world.cloud_run.state import Json

OUTPUT_ONLY = (
    "serving.knative.dev/creator",
    "serving.knative.dev/lastModifier",
    "run.googleapis.com/operation-id",
    "run.googleapis.com/urls",
    "run.googleapis.com/ingress-status",
)
"""Annotations that the server writes; what a client sends under these keys is ignored."""


def beyond(sent: Any, known: Any) -> Any:
    """The part of ``sent`` whose places ``known`` does not have; None if there is none.

    In a list, items are matched by their place, and the result is ``{"0": …}``: places as keys.
    """
    if isinstance(sent, dict) and isinstance(known, dict):
        rest = {key: value if key not in known else beyond(value, known[key]) for key, value in sent.items()}
        return {key: value for key, value in rest.items() if value is not None} or None
    if isinstance(sent, list) and isinstance(known, list):
        parts = {str(i): beyond(a, b) for i, (a, b) in enumerate(zip(sent, known, strict=False))}
        return {key: value for key, value in parts.items() if value is not None} or None
    return None


def with_kept(known: Any, kept: Any) -> Any:
    """``known`` with what `beyond` took out put back; where both say something, ``known`` is right."""
    if not isinstance(kept, dict):
        return known
    if isinstance(known, list):
        return [with_kept(item, kept.get(str(i), {})) for i, item in enumerate(known)]
    if not isinstance(known, dict):
        return known
    result = {key: with_kept(value, kept[key]) if key in kept else value for key, value in known.items()}
    return result | {key: copy.deepcopy(value) for key, value in kept.items() if key not in known}


def template_of(kept: Json) -> Json:
    """The part that belongs to the template, and so to a revision."""
    return dict(kept.get("spec", {}).get("template", {}))


def kept_after(kept: Json, fields: Collection[str]) -> Json:
    """What is left after a v2 write of these fields (none: all of them): a field that is replaced is replaced whole."""
    spec = dict(kept.get("spec", {}))
    for field in ("template", "traffic"):
        if not fields or field in fields:
            spec.pop(field, None)
    rest = {key: value for key, value in kept.items() if key != "spec"}
    return copy.deepcopy({**rest, **({"spec": spec} if spec else {})})
