"""The desks: the vendors that a release talks to over HTTP, true to what they document, in one application."""

import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from rehearsal.world.vendors.atlas import Atlas, Snapshot
from rehearsal.world.vendors.github import GitHub
from rehearsal.world.vendors.pagerduty import PagerDuty
from rehearsal.world.vendors.registry import Registry
from rehearsal.world.vendors.sentry import Sentry
from rehearsal.world.vendors.slack import Slack
from rehearsal.world.vendors.vendor import Fault, Vendor


class Vendors:
    """Every desk, mounted at its name (``/slack``, ``/pagerduty``, ``/sentry``, ``/github``, ``/registry``, ``/atlas``)
    in `app`. ``restore`` puts documents into the cluster that Atlas restores backups to.

    `told` is what the desks were told, in order: ``{seq, at, desk, method, path, body}`` of each accepted call that
    changes something. ``at`` is in unix seconds, ``path`` below the desk.
    """

    def __init__(self, restore: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self.told: list[dict[str, Any]] = []
        self._seq = 0
        self.slack = Slack(self._keep)
        self.pagerduty = PagerDuty(self._keep)
        self.sentry = Sentry(self._keep)
        self.registry = Registry(self._keep)
        self.github = GitHub(self._keep, self.registry.has_commit)
        self.atlas = Atlas(self._keep, restore)
        every = (self.slack, self.pagerduty, self.sentry, self.github, self.registry, self.atlas)
        self._desks: dict[str, Vendor] = {vendor.name: vendor for vendor in every}
        self.app = Starlette(routes=[Mount(f"/{name}", app=vendor) for name, vendor in self._desks.items()])

    def fault(self, vendor: str, **order: Any) -> Fault:
        """Order ``vendor`` to fail as a `Fault` of these fields says. Raises ValueError, TypeError."""
        if vendor not in self._desks:
            raise ValueError(f"no such desk: {vendor}; there are {', '.join(self._desks)}")
        return self._desks[vendor].order(Fault(**order))

    def clear(self) -> None:
        """No desk is ordered to fail."""
        for vendor in self._desks.values():
            vendor.clear_faults()

    def reset(self) -> None:
        """Nobody told any desk anything, no image was published, nothing is ordered to fail. The sequence goes on."""
        self.clear()
        self.told.clear()
        for vendor in self._desks.values():
            vendor.forget()

    def _keep(self, vendor: str, method: str, path: str, body: Any) -> None:
        self._seq += 1
        self.told.append(
            {"seq": self._seq, "at": time.time(), "desk": vendor, "method": method, "path": path, "body": body}
        )
