"""From an Outcome to the state that people and automations see. Prefect's words for an end stop here."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from playbook.errors import BadRequest, Conflict, Fenced, Held, Refused, ReleaseError
from playbook.release.outcome import UNTOUCHED, FlowResult, ReleaseOutcome
from playbook.text import clean
from tasks import status
from tasks.attempt import ended_before, not_retried
from tasks.binding import check_environment
from tasks.deployments import all_recorded
from tasks.run_name import name_end
from tasks.visible_step import draw_no_lines

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
    name = ""
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
    await status.finish(outcome, await name_end(name or outcome.end.value))
    state = Completed if outcome.end.is_success else Failed
    return state(name=outcome.end.value, message=message)


def _refused(error: ReleaseError, end: ReleaseOutcome = ReleaseOutcome.REFUSED) -> FlowResult:
    before = error.done_before or UNTOUCHED
    return FlowResult(end=end, message=f"{before} {error}", done_before=error.done_before)
