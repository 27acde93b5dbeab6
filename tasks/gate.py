"""The gate: the run pauses in the UI and a person decides. Without an answer by the deadline it is reverted."""

import asyncio
import contextlib
import math
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from prefect import flow_runs, get_run_logger, runtime
from prefect.client import orchestration
from prefect.exceptions import NotPausedError
from prefect.input import RunInput
from prefect.input.run_input import Keyset
from prefect.states import Running
from pydantic import Field, PrivateAttr, create_model

from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.items import Item
from playbook.form import NOT_BLANK
from playbook.messages.checklist import table
from playbook.messages.escape import markdown
from playbook.messages.hold import PERCENT_MAX, Question
from playbook.messages.times import minutes
from playbook.release.gate import DEADLINE, JUDGE, Answer, Choice, Consent
from playbook.text import clean

Form = TypeVar("Form", bound=RunInput)

REASON_MAX = 500
"""As many characters as a person's reason may have."""
AGAIN_S = 5
"""Until people are asked again where Prefect did not take the question."""
GRACE_S = 3600
"""Prefect's own deadline lies so far beyond ours: it would fail the run, and ours answers it."""


class PausedForm(RunInput):
    """A form whose question is also the message of the paused run, in plain text."""

    _message: str = PrivateAttr(default="")

    @classmethod
    async def asave(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> None:
        """As Prefect's, which is called once the run is paused; before it, the run's state says what is asked.

        Prefect takes an answer once the form is saved. A state that is written after that could pause the run again.
        """
        if isinstance(cls._message, str) and cls._message:
            with contextlib.suppress(*PREFECT_AWAY):
                await _say_in_state(cls._message)
        await super().asave(keyset, flow_run_id)


EXTENDED = "The canary keeps its share for so long; then it is judged again."
RAISED = "So many users get it for a bake; then it is judged again."


class Decide(PausedForm):
    """The form that the UI shows. The places and limits of its fields are in its schema alone, against which the server
    checks an answer: one that came another way is checked by `Answer`, and asked for again."""

    choice: Literal["promote", "revert", "extend", "raise"] = Field(title="Decision", json_schema_extra={"position": 0})
    approver: str = Field(title="Who decides", json_schema_extra={"position": 1, **NOT_BLANK, "examples": ["Ada"]})
    reason: str = Field(title="Why", json_schema_extra={"position": 2, **NOT_BLANK})
    minutes: int = Field(
        15,
        title="Only for extend: minutes more, 1 to 60",
        description=EXTENDED,
        json_schema_extra={"position": 3, "minimum": 1, "maximum": 60},
    )
    percent: int = Field(
        20, title="Only for raise: the new share in percent", description=RAISED, json_schema_extra={"position": 4}
    )


def decide_form(canary_percent: int) -> type[Decide]:
    """The form for a canary that has this share: it refuses a share that is not larger."""
    least = canary_percent + 1
    if least > PERCENT_MAX:
        kinds: Any = Literal["promote", "revert", "extend"]
        choice = Field(title="Decision", json_schema_extra={"position": 0})
        return create_model("Decide", __base__=Decide, choice=(kinds, choice))
    limits: dict[str, Any] = {"position": 4, "minimum": least, "maximum": PERCENT_MAX}
    title = f"Only for raise: the new share, {least} to {PERCENT_MAX} %"
    percent = Field(min(2 * canary_percent, PERCENT_MAX), title=title, description=RAISED, json_schema_extra=limits)
    return create_model("Decide", __base__=Decide, percent=(int, percent))


class Approve(RunInput):
    """The form in which a person lets a release go on."""

    choice: Literal["stop", "go on"] = Field("stop", title="Decision")
    by: str = Field("", title="Who decides", json_schema_extra=dict(NOT_BLANK))
    reason: str = Field("", title="Why")


async def ask_approval(environment: str, version: str, why: str, items: tuple[Item, ...], within_s: float) -> Consent:
    """Whether a person lets ``version`` go on; without an answer within so many seconds it does not.

    An answer that names no person is asked for again.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + within_s
    asked = f"**{markdown(version)} to {markdown(environment)}**: {markdown(why)}. Nothing is written yet.\n\n"
    described, again = asked + (table(items) if items else ""), ""
    silence = {"choice": "stop", "by": DEADLINE, "reason": f"no answer within {minutes(within_s)}"}
    while (left_s := ends - clock()) > 0:
        given = await answered(Approve, f"{again}{described}", left_s, silence)
        answer = Consent(goes_on=given.choice == "go on", by=given.by, reason=given.reason)
        if not (problems := answer.problems()):
            return answer if answer.reason else answer.model_copy(update={"reason": "no reason given"})
        again = f"**Your answer could not be carried out: {'; '.join(problems)}.**\n\n"
    return Consent(goes_on=False, by=silence["by"], reason=silence["reason"])


async def ask_person(
    question: Question, deadline_s: float, now_s: float, canary_percent: int, alarm: Coroutine[Any, Any, str]
) -> Answer:
    """What a person answers, or REVERT without an answer by ``deadline_s``. Times are unix seconds.

    ``question`` stands above the form and in the state of the paused run. An answer that cannot be carried out is asked
    for again. ``alarm`` runs beside; when it returns a sentence the question ends, and the
    answer is `JUDGE`'s, REVERT. What it raises is raised.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + deadline_s - now_s
    watching = asyncio.ensure_future(alarm)
    try:
        while (left_s := ends - clock()) > 0:
            answer = await _ask_once(question, left_s, canary_percent, watching)
            problems = answer.problems(canary_percent)
            if not problems:
                return answer
            get_run_logger().warning("the answer cannot be carried out: %s", "; ".join(problems))
            wrong = f"Your answer could not be carried out: {'; '.join(problems)}."
            question = question.model_copy(update={"problem": wrong})
        return _silence(deadline_s - now_s)
    finally:
        watching.cancel()


async def _ask_once(question: Question, left_s: float, canary_percent: int, alarm: "asyncio.Future[str]") -> Answer:
    silence = _silence(left_s)
    said = {"choice": "revert", "approver": silence.approver, "reason": silence.reason}
    form = decide_form(canary_percent)
    form._message = "\n".join(question.lines)
    given = await answered(form, question.form, left_s, said, alarm)
    if alarm.done() and not alarm.cancelled() and given.approver == silence.approver:
        return Answer(choice=Choice.REVERT, approver=JUDGE, reason=clean(alarm.result(), REASON_MAX))
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


async def _say_in_state(message: str) -> None:
    """The state of the paused run carries ``message``. A run that is not paused any more stays as it is."""
    run_id = UUID(runtime.flow_run.get_id())
    async with orchestration.get_client() as client:
        state = (await client.read_flow_run(run_id)).state
        if state is not None and state.is_paused():
            told = state.model_copy(update={"id": uuid4(), "message": clean(message)})
            await client.set_flow_run_state(run_id, told, force=True)


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
    return Answer(choice=Choice.REVERT, approver=DEADLINE, reason=f"No approval within {minutes(round(waited_s))}")
