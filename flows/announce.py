"""Saying later what could not be said when it happened: one run for each thing, keyed by the fact."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.messages.chat import Deployed, Message, Page, Resolution, Ticket
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import Fact, notify_with_retries
from tasks.ending import ending


@flow(name="announce", flow_run_name="announce in {environment}")
async def announce(
    environment: str,
    message: Message | None = None,
    page: Page | None = None,
    ticket: Ticket | None = None,
    resolution: Resolution | None = None,
    deployed: Deployed | None = None,
) -> State[None]:
    """Keep trying to say one thing, with bounded patience.

    Args:
        environment: Whose desks are spoken to.
        message: A Slack message.
        page: A page for the on-call engineer.
        ticket: An incident ticket.
        resolution: The end of an incident.
        deployed: A version that reached every user.
    """
    return await ending(_announce(environment, message or page or ticket or resolution or deployed))


async def _announce(environment: str, one: Fact | None) -> FlowResult:
    env = await Environment.open(environment)
    if one is None:
        return FlowResult(end=ReleaseOutcome.PASSED, message="There was nothing to say.")
    await notify_with_retries(env, one)
    return FlowResult(end=ReleaseOutcome.PASSED, message=f"Said: {one.key}")
