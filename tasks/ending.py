"""From a FlowResult to the state that people and automations see. Prefect's words for an end stop here."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import quote

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from playbook.errors import BadRequest, Conflict, Fenced, Held, Refused, ReleaseError
from playbook.messages.not_started import refused_page
from playbook.release.outcome import UNTOUCHED, FlowResult, ReleaseOutcome
from playbook.text import clean
from tasks import status
from tasks.attempt import ended_before, not_retried
from tasks.binding import check_environment
from tasks.deployments import all_recorded
from tasks.report import has_page, show
from tasks.run_name import deployed_run, name_end
from tasks.visible_step import draw_no_lines

ADDRESS_MAX = 8000
"""Characters of a link that every browser and proxy takes."""
Notify = Callable[[FlowResult], Awaitable[None]]
"""Tells people how a run ended, where its own steps have not told them."""


async def ending(
    work: Coroutine[Any, Any, FlowResult], notify: Notify | None = None, *, is_repeatable: bool = False
) -> State[None]:
    """The end state of ``work``, once ``notify`` has told people.

    The work does not begin in a deployment of another environment, nor when a person retries a run that has ended;
    ``is_repeatable``: that does no harm.

    An error that the project knows is an end like any other; an unforeseen one is Failed.
    """
    name, problems = "", tuple[str, ...]()
    draw_no_lines()
    try:
        await check_environment()
        if not is_repeatable:
            ended = await ended_before()
            if ended is not None:
                name = ended.name or ""
                raise not_retried(ended)
        outcome = await work
    except BadRequest as wrong:
        outcome = _refused(wrong).model_copy(update={"is_request_wrong": True})
        problems = wrong.problems
    except Fenced as newer:
        outcome = FlowResult(end=ReleaseOutcome.FENCED, message=str(newer))
    except Held as held:
        outcome = _refused(held, end=ReleaseOutcome.DUPLICATE if held.is_same else ReleaseOutcome.REFUSED)
    except (Refused, Conflict) as refusal:
        outcome = _refused(refusal)
    finally:
        work.close()
    message = clean(outcome.message)
    get_run_logger().info("%s: %s", outcome.end, message)
    if notify is not None:
        await notify(outcome.model_copy(update={"message": message}))
    await all_recorded()
    name = await name_end(name or outcome.end.value)
    if outcome.end is ReleaseOutcome.REFUSED:
        await _show_refused(outcome, problems, name)
    await status.finish(outcome, name)
    state = Completed if outcome.end.is_success else Failed
    return state(name=outcome.end.value, message=message)


async def _show_refused(outcome: FlowResult, problems: Sequence[str], name: str) -> None:
    """A run that was refused before it had a page has one: its first screen in the UI does not show the message."""
    run = deployed_run()
    if run is not None and not has_page():
        filled = quote(json.dumps(run.parameters, default=str))
        form = f"/v2/deployments/deployment/{run.deployment_id}/run?parameters={filled}"
        text = refused_page(name, outcome, problems, form if len(form) < ADDRESS_MAX else "")
        await show(f"refused-{run.id.hex[-12:]}", text, "Why this run was refused, and its form as it was filled in")


def _refused(error: ReleaseError, end: ReleaseOutcome = ReleaseOutcome.REFUSED) -> FlowResult:
    before = error.done_before or UNTOUCHED
    return FlowResult(end=end, message=f"{before} {error}", done_before=error.done_before)
