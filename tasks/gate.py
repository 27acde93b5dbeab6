"""The gate: the run pauses in the UI and a person decides. Without an answer by the deadline it is reverted."""

import asyncio
import contextlib
import math
from collections.abc import Coroutine
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID

from prefect import flow_runs, get_run_logger, runtime
from prefect.client import orchestration
from prefect.exceptions import NotPausedError
from prefect.input import RunInput
from prefect.states import Running
from pydantic import Field

from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.items import Item
from playbook.messages.checklist import table
from playbook.messages.escape import markdown
from playbook.messages.times import minutes
from playbook.release.gate import DEADLINE, Answer, Choice
from playbook.text import clean

Form = TypeVar("Form", bound=RunInput)

JUDGE = "the judge"
"""The approver of a gate that evidence against the canary has ended."""
AGAIN_S = 5
"""Until people are asked again where Prefect did not take the question."""
GRACE_S = 3600
"""Prefect's own deadline lies so far beyond ours: it would fail the run, and ours answers it."""


class Decide(RunInput):
    """The form that the UI shows."""

    choice: Literal["revert", "promote", "extend", "raise"] = Field("revert", title="Decision")
    approver: str = Field("", title="Who decides")
    reason: str = Field("", title="Why")
    minutes: int = Field(0, title="extend: by how many minutes (1 to 60)")
    percent: int = Field(0, title="raise: the canary's new share (up to 50 %)")


class Approve(RunInput):
    """The form in which a person lets a release go on."""

    choice: Literal["stop", "go on"] = Field("stop", title="Decision")
    by: str = Field("", title="Who decides")
    reason: str = Field("", title="Why")


class Approval(NamedTuple):
    """What a person decided before anything was written."""

    goes_on: bool
    by: str
    reason: str


async def ask_approval(environment: str, version: str, why: str, items: tuple[Item, ...], within_s: float) -> Approval:
    """Whether a person lets ``version`` go on; without an answer within so many seconds it does not.

    An answer that names no person is asked for again.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + within_s
    asked = f"**{markdown(version)} to {markdown(environment)}**: {markdown(why)}. Nothing is written yet.\n\n"
    described = asked + (table(items) if items else "")
    silence = {"choice": "stop", "by": DEADLINE, "reason": f"no answer within {minutes(within_s)}"}
    while (left_s := ends - clock()) > 0:
        given = await answered(Approve, described, left_s, silence)
        if given.by.strip():
            return Approval(
                given.choice == "go on", clean(given.by, 200), clean(given.reason or "no reason given", 500)
            )
        described = f"**Say who decides.**\n\n{described}"
    return Approval(False, silence["by"], silence["reason"])


async def ask_person(
    description: str, deadline_s: float, now_s: float, canary_percent: int, alarm: Coroutine[Any, Any, str]
) -> Answer:
    """What a person answers, or REVERT without an answer by ``deadline_s``. Times are unix seconds.

    ``description`` is Markdown above the form. An answer that cannot be carried out is asked for again. ``alarm`` runs
    beside; when it returns a sentence the question ends, and the answer is `JUDGE`'s, REVERT. What it raises is raised.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + deadline_s - now_s
    told = description
    watching = asyncio.ensure_future(alarm)
    try:
        while (left_s := ends - clock()) > 0:
            answer = await _ask_once(told, left_s, watching)
            problems = answer.problems(canary_percent)
            if not problems:
                return answer
            get_run_logger().warning("the answer cannot be carried out: %s", "; ".join(problems))
            told = f"**Your answer could not be carried out: {markdown('; '.join(problems))}.**\n\n{description}"
        return _silence(deadline_s - now_s)
    finally:
        watching.cancel()


async def _ask_once(description: str, left_s: float, alarm: "asyncio.Future[str]") -> Answer:
    silence = _silence(left_s)
    said = {"choice": "revert", "approver": silence.approver, "reason": silence.reason}
    given = await answered(Decide, description, left_s, said, alarm)
    if alarm.done() and not alarm.cancelled() and given.approver == silence.approver:
        return Answer(choice=Choice.REVERT, approver=JUDGE, reason=alarm.result())
    return Answer(
        choice=Choice(given.choice),
        approver=given.approver,
        reason=given.reason,
        minutes=given.minutes,
        percent=given.percent,
    )


async def answered(
    form: type[Form],
    description: str,
    within_s: float,
    silence: dict[str, str],
    alarm: "asyncio.Future[str] | None" = None,
) -> Form:
    """The form under ``description`` (markdown) as a person filled it in, or ``silence`` after so many seconds, or as
    soon as there is an ``alarm``.

    Where Prefect is away for longer than its own client is patient, people are asked again once it is back.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + within_s
    while (left_s := ends - clock()) > 0 and not (alarm and alarm.done()):
        try:
            return await _shown(form, description, left_s, silence, alarm)
        except PREFECT_AWAY as away:
            get_run_logger().warning("Prefect does not take the question: %s", away)
        await asyncio.sleep(AGAIN_S)
        with contextlib.suppress(*PREFECT_AWAY):
            await _unpause()
    return form(**silence)


async def _unpause() -> None:
    """A run that is paused already cannot be paused again. One that was cancelled, or taken for lost, stays so."""
    run_id = UUID(runtime.flow_run.get_id())
    async with orchestration.get_client() as client:
        state = (await client.read_flow_run(run_id)).state
        if state is not None and state.is_paused():
            await client.set_flow_run_state(run_id, Running(), force=True)


async def _shown(
    form: type[Form], description: str, within_s: float, silence: dict[str, str], alarm: "asyncio.Future[str] | None"
) -> Form:
    asking = asyncio.ensure_future(
        flow_runs.apause_flow_run(
            wait_for_input=form.with_initial_data(description=description),
            timeout=math.ceil(within_s) + GRACE_S,
            poll_interval=1,
        )
    )
    try:
        waited: set[asyncio.Future[Any]] = {asking} if alarm is None else {asking, alarm}
        await asyncio.wait(waited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            with contextlib.suppress(NotPausedError):  # a person was quicker
                await flow_runs.aresume_flow_run(UUID(runtime.flow_run.get_id()), run_input=silence)
        given = await asking
    finally:
        asking.cancel()
    assert given is not None
    return given


def _silence(waited_s: float) -> Answer:
    return Answer(choice=Choice.REVERT, approver=DEADLINE, reason=f"No approval within {minutes(waited_s)}")
