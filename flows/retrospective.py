"""The retrospective of every release (playbook 9): within a day, without being asked."""

from prefect.client.schemas.objects import State

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.history.record import Run, moved_users
from playbook.history.retrospective import BEFORE, action_items, retrospective_page, summary
from playbook.incident.decision_matrix import SEVERITY_OF, Event
from playbook.messages.facts import Audience, Message, Ticket
from playbook.messages.times import minutes
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.history import error_ratios, keep_page, keep_records, runs_between, with_steps
from tasks.notify import notify

DAY_S = 86_400.0
LOOKS_BACK_S = 1.5 * DAY_S
"""Longer than between two daily runs: a day on which the worker was away is caught up with. Nothing is said twice."""
HISTORY_S = 200 * DAY_S


@asked_flow(name="retrospective", flow_run_name="retrospective of {environment}")
async def retrospective(environment: str = "production", run: str = "") -> State[None]:
    """Write the retrospective of each release that ended lately, and open an issue for each thing to follow up.

    Args:
        environment: The environment to look back at, by the name of its block.
        run: The flow run of one release, by its id or its address. Empty: every one of the last day.
    """
    return await ending(_retrospective(environment, run))


async def _retrospective(environment: str, run: str) -> FlowResult:
    env = await Environment.open(environment)
    now_s = unix_s()
    past = await runs_between(environment, now_s - HISTORY_S, now_s)
    await keep_records(environment, past)
    run = run.strip().rstrip("/").rsplit("/", 1)[-1]  # people paste the address
    days = minutes(HISTORY_S)
    if run and all(one.run_id != run for one in past):
        raise BadRequest(
            [f"run: {run} is no release, hotfix or rollback of {environment} that ended in the last {days}"]
        )
    chosen = [one for one in past if (one.run_id == run if run else one.ended_s >= now_s - LOOKS_BACK_S)]
    worth = [one for one in chosen if run or one in moved_users(chosen)]
    for one in worth:
        before = [other for other in moved_users(past) if other.ended_s < one.ended_s][-BEFORE:]
        await look_back(env, *await with_steps([one, *before]))
    names = ", ".join(one.version or one.run_id[:8] for one in worth)
    message = f"Looked back at {names}." if worth else "No release ended since the last retrospective."
    return FlowResult(end=ReleaseOutcome.PASSED, message=message)


async def look_back(env: Environment, run: Run, *before: Run) -> None:
    """The page of one release stands in the UI; its action items are issues; the channel has a summary of it."""
    items = action_items(run, before)
    run_url = env.run_url(run.run_id)
    page = retrospective_page(run, before, items, {"the run": run_url}, await error_ratios(env, run))
    key = f"retrospective-{run.run_id}"
    where = await keep_page(env, key, page, f"{run.version} {run.outcome}")
    for item in items:
        body = f"{item.why}\n\n{run_url}"
        labels = ("retrospective",)
        await notify(
            env,
            Ticket(key=item.key, title=item.title, severity=SEVERITY_OF[Event.ACTION_ITEM], body=body, labels=labels),
        )
    text = summary(run, items, where)
    await notify(env, Message(key=f"retrospective/{run.run_id}", audience=Audience.RELEASES, text=text))
