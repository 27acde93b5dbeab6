"""What the documents promise is there: their links, their commands, the states and settings they name."""

import re
from pathlib import Path

import pytest
import yaml

from playbook.release.outcome import ReleaseOutcome

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    """A page, a picture or a folder that is linked exists."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert not [link for link in inside if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """`playbook/analysis/policy.py` is where a page says it is."""
    rooms = "playbook|blocks|tasks|flows|environments|rehearsal|bench|tests|docs"
    named = set(re.findall(rf"`((?:{rooms})/[\w./-]+\.(?:py|toml|md|png))`", page.read_text()))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_says_what_to_do_about_every_failure() -> None:
    """Each end state that is no success stands in its table."""
    text = (ROOT / "README.md").read_text()
    assert not [end.value for end in ReleaseOutcome if not end.is_success and f"`{end.value}`" not in text]


def test_the_readme_explains_every_flow_that_is_deployed() -> None:
    """Whatever a person finds in the UI's list of deployments stands in the README."""
    text = (ROOT / "README.md").read_text()
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flows = {one["entrypoint"].rpartition(".")[2].replace("_", "-") for one in deployments}
    assert not [flow for flow in flows if f"`{flow}/" not in text]
