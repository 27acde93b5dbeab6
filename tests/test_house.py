"""The house stands as it was drawn: the layers, the deployments, the blocks, the commands that the README promises."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.blocks.core import Block

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d['entrypoint']}:{d['name']}")
def test_every_deployment_loads_and_knows_its_parameters(deployment: dict[str, object]) -> None:
    """The entrypoint of a deployment is a flow, and takes each parameter that is set for it."""
    module, _, name = str(deployment["entrypoint"]).rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    parameters = deployment["parameters"]
    assert isinstance(parameters, dict)
    assert set(parameters) <= set(inspect.signature(flow.fn).parameters)


def test_every_deployment_has_a_name_of_its_own() -> None:
    """`flow/environment` names one deployment."""
    names = [(d["entrypoint"], d["name"]) for d in DEPLOYMENTS]
    assert len(set(names)) == len(names)


def test_every_block_is_exported() -> None:
    """`prefect block register -m blocks` registers what `blocks/__init__.py` shows, so it shows every block."""
    import blocks

    defined = set()
    for path in (ROOT / "blocks").glob("*.py"):
        if path.stem in ("__init__", "__main__", "base", "http"):
            continue
        module = importlib.import_module(f"blocks.{path.stem}")
        defined |= {
            name
            for name, thing in vars(module).items()
            if inspect.isclass(thing) and issubclass(thing, Block) and thing.__module__ == module.__name__
        }
    assert defined <= set(vars(blocks))


def test_flow_files_hold_no_classes() -> None:
    """A flow file may be loaded twice, by path and by import: a class in it would be two classes."""
    for path in (ROOT / "flows").glob("*.py"):
        tree = ast.parse(path.read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)], path


def test_no_flow_file_is_named_like_a_top_level_package() -> None:
    """Loaded by path, a flow file leaves its folder first on the import path and would hide that package."""
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} | sys.stdlib_module_names
    assert not {path.stem for path in (ROOT / "flows").glob("*.py")} & packages


def test_the_playbook_has_no_clock_and_no_chance() -> None:
    """What decides gets the time as a value; import-linter cannot see a call, so the names are looked for here."""
    for path in (ROOT / "playbook").rglob("*.py"):
        assert not re.search(r"\b(datetime\.now|utcnow|time\.time|random\.|os\.environ)\b", path.read_text()), path


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCUMENTS)])
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    """A command in a document can be run."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named or page != "README.md", "the README names no make target"
    assert named <= targets


def test_production_installs_the_versions_that_are_tested() -> None:
    """The development lock holds every line of the production lock that names a version."""
    tested, production = (
        {line for line in (ROOT / name).read_text().splitlines() if re.match(r"[a-z].*==", line)}
        for name in ("requirements-dev.lock", "requirements.lock")
    )
    assert production, "requirements.lock names no version"
    assert production <= tested


def test_no_file_names_a_package_registry() -> None:
    """A lock without host names installs wherever the machine's own registry is."""
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml", "Makefile"):
        assert "://" not in (ROOT / name).read_text().replace("https://docs", ""), name


def test_a_flight_check_runs_a_day_and_an_hour_before_each_scheduled_release() -> None:
    """What would fail the release is told while it can be mended. A schedule is minute, hour and day of the week."""
    by_name = {(one["entrypoint"].rpartition(".")[2], one["name"]): one.get("schedules", []) for one in DEPLOYMENTS}
    found = 0
    for (flow, environment), schedules in by_name.items():
        for minute, hour, day, month, weekday in (one["cron"].split() for one in schedules if flow == "release"):
            assert (day, month) == ("*", "*")
            checks = {one["cron"] for one in by_name["flight_check", environment] if one["active"]}
            day_ahead = f"{minute} {hour} * * {(int(weekday) - 1) % 7}"
            assert {day_ahead, f"{minute} {int(hour) - 1} * * {weekday}"} <= checks
            found += 1
    assert found == 1


def test_sentences_have_a_subject() -> None:
    """A person, the engine or a thing does something; "whoever" and "nobody" leave open who."""
    vague = re.compile(r"\b(whoever|nobody|somebody|anybody|everybody)\b", re.IGNORECASE)
    folders = ("playbook", "blocks", "tasks", "flows", "worker", ".github")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    assert [
        f"{path.relative_to(ROOT)}: {found[0]}" for path in files if (found := vague.search(path.read_text()))
    ] == []
