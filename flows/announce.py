"""Send later what could not be sent when it happened: one run for each fact and recipient."""

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.messages.facts import Deployed, Message, Page, Recorded, Resolution, TakenBack, Ticket
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.notify import Fact, notify_with_retries, words_of


@asked_flow(name="announce", flow_run_name="announce in {environment}")
async def announce(
    environment: str,
    message: Message | None = None,
    page: Page | None = None,
    ticket: Ticket | None = None,
    resolution: Resolution | None = None,
    deployed: Deployed | None = None,
    recorded: Recorded | None = None,
    takenback: TakenBack | None = None,
    to: str = "",
    signature: str = "",
) -> State[None]:
    """Keep trying to send one notification, for half an hour. Started by the engine alone: it says what a run of the
    engine has signed, and nothing else.

    Args:
        environment: The environment whose channels and pagers are told.
        message: A message for the chat channels.
        page: A page for the on-call engineer.
        ticket: An incident ticket.
        resolution: The end of an incident.
        deployed: A version that all users have.
        recorded: How a release stands, for the code host.
        takenback: A version that was taken back, for the release tracker.
        to: The channel or pager to tell, by its name. Empty: every one.
        signature: Of all of it, by the run that could not send it.
    """
    one = message or page or ticket or resolution or deployed or recorded or takenback
    return await ending(_announce(environment, one, to, signature), is_repeatable=True)


async def _announce(environment: str, one: Fact | None, to: str, signature: str) -> FlowResult:
    env = await Environment.open(environment)
    if one is None:
        return FlowResult(end=ReleaseOutcome.PASSED, message="There was nothing to send.")
    await env.signer.check_words("announce", words_of(one, to), signature)
    await notify_with_retries(env, one, to)
    return FlowResult(end=ReleaseOutcome.PASSED, message=f"Sent: {one.key}")
