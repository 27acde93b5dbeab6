"""A flow that answers a request of a wrong shape in plain words.

The UI checks a request against the form of its deployment; a script need not (``enforce_parameter_schema``). Prefect's
own answer to what does not fit is a run that has failed with pydantic's text, and no channel is told.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError
from pydantic import TypeAdapter, ValidationError

from playbook.errors import BadRequest
from playbook.messages.facts import Audience
from playbook.messages.not_started import Asked
from playbook.release.outcome import FlowResult
from playbook.text import clean
from playbook.wrong_request import NEXT, call_problems, shape_problems
from tasks.announce import notify_not_started
from tasks.binding import bound_environment
from tasks.ending import ending

Body = Callable[..., Coroutine[Any, Any, State[None]]]


SAID = {"subject": "version"}
"""What the name of a run takes from its request -> the field that says it."""
NAMED_MAX = 60


class Unread:
    """Stands for a parameter of a run whose request was not understood. A field of it is the text that was given, or a
    question mark: it names the run."""

    def __init__(self, problems: list[str], given: dict[str, Any]) -> None:
        self.problems, self.given = problems, given

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        request = self.given.get("request")
        said = request.get(SAID.get(name, name)) if isinstance(request, dict) else None
        return clean(said, NAMED_MAX) if isinstance(said, str) and said else "?"

    def __str__(self) -> str:
        return "?"


class AskedFlow(Flow[..., State[None]]):
    """A flow whose body is not called with a request that has not the shape of its form."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the body takes them; where one cannot be, an `Unread` for each."""
        problems = problems_of(self.fn, parameters)  # first: Prefect logs what it finds in pydantic's words
        if not problems:
            try:
                return dict(super().validate_parameters(parameters))
            except (ParameterTypeError, ParameterBindError, SignatureMismatchError) as wrong:
                problems = [clean(str(wrong).partition("\n")[0])]
        names = inspect.signature(self.fn).parameters
        unread: dict[str, Any] = dict.fromkeys(names, Unread(problems, parameters))
        where = parameters.get("environment", names["environment"].default if "environment" in names else None)
        return unread | ({"environment": where} if isinstance(where, str) and len(names) > 1 else {})


def asked_flow(
    name: str, flow_run_name: str, audience: Audience | None = None, **options: Any
) -> Callable[[Body], AskedFlow]:
    """As Prefect's ``flow``. ``audience``: where people wait for the run, and are told that it did not start.

    No result is kept: what a run knows stands on the services. Else everyone with Prefect's login could name a storage
    of results for the whole server, to which runs would write, and from which they would unpickle.
    """

    def decorated(body: Body) -> AskedFlow:
        @functools.wraps(body)
        async def answered(*arguments: Any, **parameters: Any) -> State[None]:
            values = (*arguments, *parameters.values())
            unread = next((one for one in values if isinstance(one, Unread)), None)
            if unread is None:
                return await body(*arguments, **parameters)
            return await _refused(name, body, unread, audience)

        flow: Any = answered
        return AskedFlow(flow, name=name, flow_run_name=flow_run_name, persist_result=False, **options)

    return decorated


def problems_of(body: Callable[..., Any], parameters: dict[str, Any]) -> list[str]:
    """What is wrong with the parameters of a run, one line for each field."""
    signature = inspect.signature(body, eval_str=True)
    annotations = {name: one.annotation for name, one in signature.parameters.items()}
    needed = tuple(name for name, one in signature.parameters.items() if one.default is one.empty)
    found = call_problems(parameters, annotations, needed)
    for name, value in parameters.items():
        if name not in annotations:
            continue
        kind = annotations[name]
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as wrong:
            errors = [{**error, "loc": (name, *error["loc"])} for error in wrong.errors(include_url=False)]
            found += shape_problems(errors, annotations)
    return found


async def _refused(name: str, body: Body, unread: Unread, audience: Audience | None) -> State[None]:
    declared = inspect.signature(body).parameters.get("environment")
    default = str(declared.default) if declared is not None and declared.default is not declared.empty else ""
    given = unread.given.get("environment", default)
    request = unread.given.get("request")
    by = request.get("requested_by", "") if isinstance(request, dict) else ""

    async def work() -> FlowResult:
        raise BadRequest([*unread.problems, NEXT])

    async def tell(outcome: FlowResult) -> None:
        environment = given if isinstance(given, str) else await bound_environment() or default
        if audience is not None and environment:
            asked = Asked(what=name.replace("-", " "), subject="The request could not be read", audience=audience)
            said = asked.model_copy(update={"by": clean(by, 200) if isinstance(by, str) else ""})
            await notify_not_started(environment, said, outcome)

    return await ending(work(), tell)
