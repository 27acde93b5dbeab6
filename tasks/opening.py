"""The page of a release from the request on, until it holds its services and its report goes on with it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from prefect import get_run_logger, runtime

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import ReleaseError
from playbook.lease.lease import Kind
from playbook.messages.opening import Opening, page
from playbook.messages.report import Note
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.plan import Order
from tasks.lease import holder
from tasks.report import has_report, show


@dataclass
class OpenPage:
    """The page while the release is on its way to its lease."""

    opening: Opening

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was done so far."""
        return self.opening.notes

    async def at(self, phase: str, text: str) -> None:
        """The page says that the release is at this phase, and the log says why."""
        self.opening = self.opening.at(phase, unix_s(), text)
        get_run_logger().info("%s: %s", self.opening.environment, text)
        await self._show(text)

    async def ended(self, outcome: FlowResult) -> None:
        """The page says why the release goes no further. One that has held its services has its report there."""
        if not has_report(self.opening.key):
            self.opening = self.opening.ended(outcome, unix_s())
            await self._show(outcome.message)

    async def _show(self, text: str) -> None:
        await show(self.opening.key, page(self.opening), f"{self.opening.version}: {text}")


@contextlib.asynccontextmanager
async def open_page(env: Environment, order: Order, kind: Kind = Kind.RELEASE) -> AsyncIterator[OpenPage]:
    """The release has a page from here on. A refusal within the block is told there, too."""
    shown = OpenPage(
        Opening(
            environment=env.name,
            release_id=f"{order.version}-{holder(env).short_id}",
            kind=kind,
            version=str(order.version),
            canary_percent=order.canary_percent,
            requested_by=order.requested_by,
            why=order.changes,
            has_staging=bool(env.staging),
            bake_s=env.policy.bake_s,
            run_url=env.run_url(runtime.flow_run.get_id()),
        )
    )
    await shown.at("checks", f"asked for by {order.requested_by or 'an unnamed person'}")
    try:
        yield shown
    except ReleaseError as refusal:
        await shown.ended(FlowResult(end=ReleaseOutcome.REFUSED, message=str(refusal)))
        raise
