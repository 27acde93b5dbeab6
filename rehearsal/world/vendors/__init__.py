"""Stand-ins for the vendors that a release calls over HTTP, in one application, true to the vendors' documentation."""

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
    """Every vendor stand-in, mounted in `app` at its name: ``/slack``, ``/pagerduty``, ``/sentry``, ``/github``,
    ``/registry``, ``/atlas``. ``restore`` puts documents into the cluster that Atlas restores backups to.

    `calls` are the accepted calls that changed something, in order: ``{seq, at, vendor, method, path, body}``, ``at``
    in unix seconds, ``path`` below the vendor's mount point.
    """

    def __init__(self, restore: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._seq = 0
        self.slack = Slack(self._keep)
        self.pagerduty = PagerDuty(self._keep)
        self.sentry = Sentry(self._keep)
        self.registry = Registry(self._keep)
        self.github = GitHub(self._keep, self.registry.has_commit, self.registry.digests)
        self.atlas = Atlas(self._keep, restore)
        every = (self.slack, self.pagerduty, self.sentry, self.github, self.registry, self.atlas)
        self._vendors: dict[str, Vendor] = {vendor.name: vendor for vendor in every}
        self.app = Starlette(routes=[Mount(f"/{name}", app=vendor) for name, vendor in self._vendors.items()])

    def fault(self, vendor: str, **order: Any) -> Fault:
        """Order a `Fault` of ``vendor`` with these fields. Raises ValueError, TypeError."""
        if vendor not in self._vendors:
            raise ValueError(f"unknown vendor: {vendor}; choose from {', '.join(self._vendors)}")
        return self._vendors[vendor].order(Fault(**order))

    def clear(self) -> None:
        """Cancel all faults."""
        for vendor in self._vendors.values():
            vendor.clear_faults()

    def reset(self) -> None:
        """Forget all calls, images and faults. The sequence numbers continue."""
        self.clear()
        self.calls.clear()
        for vendor in self._vendors.values():
            vendor.forget()

    def _keep(self, vendor: str, method: str, path: str, body: Any) -> None:
        self._seq += 1
        self.calls.append(
            {"seq": self._seq, "at": time.time(), "vendor": vendor, "method": method, "path": path, "body": body}
        )
