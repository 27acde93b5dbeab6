"""The documents are true: the links, files, end states and flows that they name exist."""

import re
from pathlib import Path

import pytest
import yaml

from playbook.release.outcome import ReleaseOutcome

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLAYBOOK = ROOT / "docs" / "playbook.md"
NOTE = "> *Note of this repository."
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")


def links_of(page: Path) -> list[str]:
    """Every link of a page into this repository. The playbook's own text is the team's: only its note is ours."""
    text = page.read_text()
    if page == PLAYBOOK:
        text = "\n".join(line for line in text.splitlines() if line.startswith(">"))
    return [link for link in LINK.findall(text) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    """A page, a picture or a folder that is linked exists, and so does the heading that is linked."""
    broken = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def test_the_playbook_is_readable_and_its_note_names_every_link() -> None:
    """No character of the playbook is broken, and each document that it refers to is placed in the note."""
    text = PLAYBOOK.read_text(encoding="utf-8")
    assert "\ufffd" not in text
    own, note = text.split("## 11. References")[1].split(NOTE)
    assert not [link for link in LINK.findall(own) if f"`{link}`" not in note]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """`playbook/analysis/policy.py` is where a page says it is."""
    folders = "playbook|blocks|tasks|flows|environments|rehearsal|bench|tests|docs"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|toml|md|png))`", page.read_text()))
    assert not [name for name in named if not (ROOT / name).exists()]


PROSE = [page for page in PAGES if page != PLAYBOOK and not page.name.startswith("judge")]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_speaks_of_roles_and_not_of_unknown_persons(page: Path) -> None:
    """A sentence names who acts: on-call, a person, the run. "Whoever" and "somebody" leave the reader to guess."""
    assert not re.findall(r"\b(?:somebody|nobody|whoever|anybody)\b", page.read_text(), re.IGNORECASE)


def test_the_readme_says_what_to_do_about_every_failure() -> None:
    """Each end state that is not a success stands in its table."""
    text = (ROOT / "README.md").read_text()
    assert not [end.value for end in ReleaseOutcome if not end.is_success and f"`{end.value}`" not in text]


def test_the_readme_explains_every_flow_that_is_deployed() -> None:
    """Each deployment that the UI lists stands in the README."""
    text = (ROOT / "README.md").read_text()
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flows = {one["entrypoint"].rpartition(".")[2].replace("_", "-") for one in deployments}
    assert not [flow for flow in flows if f"`{flow}/" not in text]


DEVIATIONS = ROOT / "docs" / "deviations.md"
NAMED_IN = re.compile(r"`([^`]+)`(?: and `([^`]+)`)? in `([^`]+)`")


def plain(text: str) -> str:
    """A line of Markdown without its marks, and without what stands in brackets at its end."""
    text = re.sub(r"^\s*(?:- \[ \]|-|\d+\.|##+)\s+|[*`]", "", text).strip()
    return text.replace("\\|", "|")


ONLY_BEGIN_A_LIST = (
    *("Version:", "Date:", "Owner:", "Applies to:", "Release Frequency:", "Before triggering", "Communication:"),
    *("What happens:", "Metrics to Watch", "If Canary Healthy", "Post-Promotion:", "Incident Response:", "Steps:"),
    *("If database migration", "For critical security", "If production deployment", "Slack Channels:"),
)
"""Lines in bold that ask for nothing themselves: what follows them does."""


def lines_of_the_playbook() -> list[str]:
    """Each heading of a step, item of a list, line in bold and first cell of a row, in the sections 1 to 10."""
    found, in_code = [], False
    text = PLAYBOOK.read_text().split("## 11. References")[0]
    for line in text.splitlines():
        if line.strip().startswith("```"):
            in_code = not in_code
        if in_code or line.startswith(("```", ">", "| Metric", "| Symptom", "| Role", "|-")) or line == "### Steps:":
            continue
        if re.match(r"### |\s*- |\s*\d+\. ", line):
            found.append(plain(line))
        elif line.startswith("| **"):
            found.append(plain(line.split("|")[1]))
        elif line.startswith("**") and not plain(line).startswith(ONLY_BEGIN_A_LIST):
            found.append(plain(line))
    return found


def table_of_lines() -> list[tuple[str, str]]:
    """The playbook's line and what does it, from the table at the end of the page."""
    text = DEVIATIONS.read_text().split("## Each line of the playbook")[1]
    rows = [re.split(r"(?<!\\)\|", line)[2:4] for line in text.splitlines() if re.match(r"\| \d", line)]
    return [(plain(line), what.strip()) for line, what in rows]


def test_every_line_of_the_playbook_stands_in_the_table_in_its_order() -> None:
    """A line that the team adds to the playbook is missing here until the table says what does it."""
    lines, rows = lines_of_the_playbook(), [line for line, _ in table_of_lines()]
    assert len(lines) > 105
    missing, at = [], 0
    for row in rows:
        if row == "Post in #releases Slack channel":  # the one line of section 2 that is no item
            row = "Post in #releases Slack channel:"
        while at < len(lines) and not lines[at].startswith(row):
            missing.append(lines[at])
            at += 1
        at += 1
    assert not missing, f"not in the table, or not in this order: {missing}"
    assert at == len(lines), lines[at:]


def test_what_the_table_names_exists() -> None:
    """The name stands in the file, the deployment in prefect.yaml; else a person does it, or the row above says it."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    known = {f"{one['entrypoint'].rpartition('.')[2].replace('_', '-')}/{one['name']}" for one in deployments}
    wrong = []
    for line, what in table_of_lines():
        found = NAMED_IN.findall(what)
        named = set(re.findall(r"`([a-z-]+/(?:production|staging))`", what))
        wrong += [f"{line}: {one} is not deployed" for one in named - known]
        for *names, path in found:
            text = (ROOT / path).read_text()
            defined = set(
                re.findall(r"^[ \t]*(?:async def|def|class|- name:|\[{1,2})?[ ]?([\w-]+)", text, re.MULTILINE)
            )
            defined |= set(re.findall(r"slug: ([\w-]+)", text))
            wrong += [f"{line}: no {name} in {path}" for name in names if name and name not in defined]
        if not (found or named or re.match(r"a person|the same|the next release", what)):
            wrong.append(f"{line}: nothing does it")
    assert not wrong, "\n".join(wrong)
