"""The query catalogue: placeholders are known, filled in, and cannot be used to say anything else."""

import pytest
from pydantic import ValidationError

from blocks.queries import Queries
from playbook.analysis.telemetry import HEALTH_CHECKS, TelemetryForm
from playbook.errors import Refused
from playbook.release.version import Service

SLOTS = ("requests", "latency", "cpu", "memory", "up", "error_ratio")
SERVICE = Service(name="ethixai-backend", repository="ghcr.io/geoaziz/ethixai-backend", job="backend")


def queries(**changed: str) -> Queries:
    """A catalogue."""
    return Queries(**{slot: f'{slot}{{job="{{job}}",revision="{{revision}}"}}' for slot in SLOTS} | changed)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_query_is_asked_for_one_revision(slot: str) -> None:
    """Job and revision are filled in; the braces of the selector stay."""
    assert queries().render(slot, SERVICE, "r-1") == f'{slot}{{job="backend",revision="r-1"}}'


def test_braces_of_promql_are_no_placeholders() -> None:
    """A catalogue may say anything that PromQL can."""
    written = 'sum by (le) (rate(x{service="{service}",status=~"5.."}[5m])) / on() group_left() {__name__="y"}'
    assert queries(cpu=written).render("cpu", SERVICE, "r") == written.replace("{service}", "ethixai-backend")


def test_health_checks_are_left_out_where_the_query_says_so() -> None:
    """With the environment's routes, within the quotes of PromQL; asked for everything, none is left out."""
    own = queries(requests='n{handler!~"{health_checks}",revision="{revision}"}')
    usual = own.render("requests", SERVICE, "r")
    assert usual == f'n{{handler!~"{"|".join(HEALTH_CHECKS)}",revision="r"}}'
    own.without(TelemetryForm(health_checks=(r"/up\.txt", "/a{2}")).health_checks_in_promql)
    assert own.render("requests", SERVICE, "r") == r'n{handler!~"/up\\.txt|/a{2}",revision="r"}'
    assert own.render_any("requests", SERVICE, "r") == own.render("requests", SERVICE, "r")
    assert own.text_of("requests") == r'n{handler!~"/up\\.txt|/a{2}",revision="{revision}"}'
    assert own.render("requests", SERVICE, "r", of_users=False) == 'n{handler!~"no route at all",revision="r"}'


def test_an_unknown_placeholder_is_named() -> None:
    """When the environment is made, and not at the first release."""
    with pytest.raises(ValidationError, match=r"\{revison\} is no placeholder; use \{job\}, \{revision\}, \{service\}"):
        queries(up='up{revision="{revison}"}')


@pytest.mark.parametrize("name", ['r"} or vector(0) #', "r\n", "", "r\\", "{job}"])
def test_a_name_cannot_leave_its_quotes(name: str) -> None:
    """What is no name is refused before it is asked for."""
    with pytest.raises(Refused, match=r"\[\[services\]\]"):
        queries().render("up", SERVICE, name)


def test_an_unknown_slot_is_a_mistake_of_the_caller() -> None:
    """It is not one of the environment."""
    with pytest.raises(KeyError):
        queries().render("nothing", SERVICE, "r")
