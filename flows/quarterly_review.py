"""The quarterly review (playbook 9): by schedule after each quarter, and on demand for any span of days."""

from datetime import UTC, date, datetime, timedelta

from prefect.client.schemas.objects import State

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.history.review import automation_candidates, quarter_before, review, review_page
from playbook.messages.facts import Audience, Message
from playbook.messages.times import day
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.history import keep_page, runs_between
from tasks.notify import notify

FIRST_DAY, LAST_DAY = date(2020, 1, 1), date(2099, 12, 31)


@asked_flow(name="quarterly-review", flow_run_name="review of {environment}")
async def quarterly_review(
    environment: str = "production", first_day: date | None = None, last_day: date | None = None
) -> State[None]:
    """Count what was released, what was taken back, how long it took, and what to automate next.

    Args:
        environment: The environment to review, by the name of its block.
        first_day: The first day (UTC). Empty, with the last one: the whole quarter before this one.
        last_day: The last day (UTC), which counts.
    """
    return await ending(_review(environment, first_day, last_day))


async def _review(environment: str, first_day: date | None, last_day: date | None) -> FlowResult:
    env = await Environment.open(environment)
    from_s, to_s = quarter_before(unix_s()) if first_day is None and last_day is None else span(first_day, last_day)
    figures = review(await runs_between(environment, from_s, to_s), environment, from_s, to_s)
    days = f"{day(from_s)} to {day(to_s - 1)}"
    key = f"review-{environment}-{day(from_s)}-{day(to_s - 1)}"
    text = f"{figures.promoted} promoted, {figures.reverted} reverted, {figures.rolled_back} rolled back"
    where = await keep_page(env, key, review_page(figures), text)
    todo = "".join(f"\n• {one}" for one in automation_candidates(figures))
    said = f"📊 Review of {environment}, {days}: {text}.{todo}\n{where}"
    await notify(env, Message(key=key, audience=Audience.RELEASES, text=said))
    return FlowResult(end=ReleaseOutcome.PASSED, message=f"{days}: {text}.")


def span(first_day: date | None, last_day: date | None) -> tuple[float, float]:
    """Both days as unix seconds: the start of the first one, the end of the last one. Raises: BadRequest."""
    if first_day is None or last_day is None:
        raise BadRequest([f"{'first' if first_day is None else 'last'}_day: give both days, or neither"])
    if first_day < FIRST_DAY:
        raise BadRequest([f"first_day: {first_day} is before {FIRST_DAY}; nothing is kept from then"])
    if last_day > LAST_DAY:
        raise BadRequest([f"last_day: {last_day} is after {LAST_DAY}, the last day that can be counted"])
    if last_day < first_day:
        raise BadRequest([f"last_day: {last_day} is before the first day, {first_day}"])
    start = datetime.combine(first_day, datetime.min.time(), UTC)
    return start.timestamp(), (datetime.combine(last_day, datetime.min.time(), UTC) + timedelta(days=1)).timestamp()
