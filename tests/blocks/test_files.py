"""An environment file becomes an Environment, or a list of everything that is wrong with it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks import Environment, Slack, files
from blocks.__main__ import main
from playbook.analysis.policy import Policy
from playbook.analysis.signals import DEFAULT_SIGNALS
from playbook.errors import BadRequest
from rehearsal.world.remote import RemoteWorld

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION, STAGING = ROOT / "environments/production.toml", ROOT / "environments/staging.toml"

RIGHT = """
name = "small"
[[services]]
name = "ethixai-backend"
repository = "ghcr.io/geoaziz/ethixai-backend"
job = "backend"
[queries]
requests = 'a{revision="{revision}"}'
latency = 'b{revision="{revision}"}'
cpu = 'c{revision="{revision}"}'
memory = 'd{revision="{revision}"}'
up = 'e{revision="{revision}"}'
error_ratio = 'f{revision="{revision}"}'
[cloud_run]
project = "p"
region = "r"
[cloud_logging]
project = "p"
[prometheus]
url = "http://x"
[registry]
[ethixai]
[slack]
token = {env = "BLOCKS_TEST_TOKEN"}
channels = {releases = "C0", incidents = "C1"}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes an environment file; the secret that it refers to is there."""
    monkeypatch.setenv("BLOCKS_TEST_TOKEN", "xoxb-from-env")
    monkeypatch.setenv("BLOCKS_TEST_KEY", "k" * 32)

    def written(text: str) -> Path:
        path = tmp_path / "environment.toml"
        path.write_text(text)
        return path

    return written


async def problems(path: Path) -> list[str]:
    """What is wrong with a file, without its path and the line."""
    return [re.sub(r"^:\d+", "", problem).removeprefix(": ") for problem in await problem_lines(path)]


async def problem_lines(path: Path) -> list[str]:
    """What is wrong with a file, without its path."""
    with pytest.raises(BadRequest) as raised:
        await files.read(path)
    return [problem.removeprefix(str(path)) for problem in raised.value.problems]


async def slack_token(environment: Environment) -> tuple[str, str]:
    """Where the token of the one channel is, and the token."""
    (slack,) = environment.channels
    assert isinstance(slack, Slack)
    return str(slack.token), (await slack.token.read()).get_secret_value()


@pytest.mark.parametrize("path", [PRODUCTION, STAGING], ids=lambda path: path.stem)
async def test_the_files_of_this_project_are_right(path: Path) -> None:
    """Their name is that of the file, and they hold the three services in order of promotion."""
    environment = await files.read(path, with_secrets=False)
    assert environment.name == path.stem
    assert environment.service_names == ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")
    assert environment.service("ethixai-backend").job == "backend"


async def test_production_is_the_playbooks_and_staging_has_no_canary() -> None:
    """Nothing but the bake differs from the playbook, and production passes staging first."""
    production, staging = [await files.read(path, with_secrets=False) for path in (PRODUCTION, STAGING)]
    assert production.policy == Policy()
    assert staging.policy == Policy(bake_s=0)
    assert (production.staging, staging.staging) == ("staging", "")
    assert production.gates.scan_check == "trivy"


async def test_a_right_file_is_an_environment(write: Write) -> None:
    """What it does not say has its default; the secret stays where it is and can be read from there."""
    environment = await files.read(write(RIGHT))
    assert await slack_token(environment) == ("env:BLOCKS_TEST_TOKEN", "xoxb-from-env")
    assert environment.policy == Policy()
    assert environment.release_tracker is None


async def test_a_policy_is_a_base_and_what_differs(write: Write) -> None:
    """The compressed one with a bake of its own."""
    rehearsal = RIGHT.replace('region = "r"', 'region = "r"\napi_endpoint = "127.0.0.1:1"')
    environment = await files.read(write(rehearsal + '[policy]\nbase = "compressed"\nbake_s = 30\n'))
    assert environment.policy == Policy.compressed().model_copy(update={"bake_s": 30})


async def test_a_secret_may_be_in_a_file_beside_it(write: Write, tmp_path: Path) -> None:
    """The path is relative to the environment file, and the editor's newline does not matter."""
    (tmp_path / "token").write_text("xoxb-from-file\n")
    environment = await files.read(write(RIGHT.replace('env = "BLOCKS_TEST_TOKEN"', 'file = "token"')))
    assert await slack_token(environment) == (f"file:{tmp_path / 'token'}", "xoxb-from-file")


async def test_a_secret_may_be_in_secret_manager(write: Write, world: RemoteWorld) -> None:
    """It is asked for by its full name."""
    name = await world.put_secret("ethixai-production", "slack", "xoxb-from-manager")
    text = RIGHT.replace('env = "BLOCKS_TEST_TOKEN"', f'secret_manager = "{name.rsplit("/", 1)[0]}/latest"')
    manager = f'[secret_manager]\nproject = "ethixai-production"\napi_endpoint = "{world.grpc_endpoint}"\n'
    environment = await files.read(write(text + manager))
    full = name.rsplit("/", 1)[0] + "/latest"
    assert await slack_token(environment) == (f"secret-manager:{full}", "xoxb-from-manager")
    short = await files.read(write(text.replace(full, "slack") + manager))
    assert await slack_token(short) == await slack_token(environment)


SINGLE = "[pagerduty]\nrouting_key = {env = 'BLOCKS_TEST_TOKEN'}\n[pagers]\ntype = 'pagerduty'\nname = 'second'\n"
MISTAKES = [
    ("a misspelt key", 'name = "small"', 'name = "small"\nstagin = "x"', "stagin: unknown key; did you mean staging?"),
    (
        "a misspelt key of a table",
        'region = "r"',
        'regoin = "r"',
        "cloud_run.regoin: unknown key; did you mean region?",
    ),
    ("a missing key", 'region = "r"', "", "cloud_run.region: missing; add it. Region of the services"),
    ("a misspelt key of a service", "job =", "jop =", "services[0].jop: unknown key; did you mean job?"),
    ("a missing table", '[cloud_logging]\nproject = "p"', "", "cloud_logging: missing; add a table [cloud_logging]"),
    ("a wrong type", 'url = "http://x"', "url = 3", "prometheus.url: must be a valid string"),
    ("a wrong address", "http://x", "nonsense", "prometheus.url: must be http://HOST or https://HOST"),
    ("an unknown placeholder", "{revision}", "{revison}", "queries.requests: {revison} is no placeholder; use {job}"),
    ("a missing query", "memory = 'd{revision=\"{revision}\"}'", "", "queries.memory: missing; add it."),
    (
        "an unknown audience",
        "releases =",
        "release =",
        "slack.channels.release: must be 'releases', 'incidents' or 'platform'",
    ),
    (
        "an unset variable",
        "BLOCKS_TEST_TOKEN",
        "NOT_SET",
        "slack.token: The secret env:NOT_SET cannot be read here: the environment variable",
    ),
    ("a missing file", 'env = "BLOCKS_TEST_TOKEN"', 'file = "none"', "slack.token: The secret file:/"),
    (
        "another reference",
        "env =",
        "vault =",
        "slack.token: a secret does not stand in this file; say where it is: {env",
    ),
    (
        "a wrong name",
        'name = "small"',
        'name = "Small One"',
        "name: does not have the form that it must have. Also the name of the block: lower-case letters",
    ),
    ("no services", "[[services]]", "[[elsewhere]]", "services: missing; add it."),
    (
        "an unknown policy",
        "[registry]",
        '[policy]\nbase = "strict"\n[registry]',
        "policy.base: there is no policy 'strict'",
    ),
    ("a wrong threshold", "[registry]", "[policy]\nbake_s = -1\n[registry]", "policy.bake_s: must be greater"),
    ("an unknown threshold", "[registry]", "[policy]\nbake = 1\n[registry]", "policy.bake: unknown key; did you mean"),
    ("a table that is none", 'name = "small"', 'name = "small"\ngithub = 3', "github: must be a table, [github]."),
    ("no TOML", "[registry]", "[registry", "cannot be read: "),
    ("too deep", "[registry]", "x = " + "[" * 20_000, "cannot be read: too many lists or tables"),
    ("too many digits", "[registry]", "x = " + "1" * 5000, "cannot be read: a number has thousands of digits"),
    (
        "no policy's name",
        "[registry]",
        "[policy]\nbase = ['playbook']\n[registry]",
        "policy.base: there is no policy ['",
    ),
    (
        "a pager in single brackets",
        "[registry]",
        SINGLE + "[registry]",
        "pagers: must be a list of tables, [[pagers]].",
    ),
    (
        "a signal's name that is a list",
        "[registry]",
        "[[signals]]\nname = ['a']\n[registry]",
        "signals[0].name: must be",
    ),
    (
        "a signal's kind that is a list",
        "[registry]",
        "[[signals]]\nkind = ['a']\n[registry]",
        "signals[0].kind: must be",
    ),
    (
        "a list that is none",
        'name = "small"',
        'name = "small"\nrequired_checks = "ci"',
        "required_checks: must be a list.",
    ),
    ("an infinite bake", "[registry]", "[policy]\nbake_s = inf\n[registry]", "policy.bake_s: inf s is longer than"),
    (
        "a date that is none",
        "[registry]",
        "[gates]\non_call_s = 1e300\n[registry]",
        "gates.on_call_s: 1e+300 s is longer",
    ),
    (
        "a check without a name",
        'name = "small"',
        'name = "small"\nrequired_checks = [""]',
        "required_checks: an entry is empty",
    ),
    (
        "none beside a check",
        'name = "small"',
        'name = "small"\nrequired_checks = ["none", "ci"]',
        'required_checks: "none" says that no check is needed; it stands alone',
    ),
    (
        "an app without a name",
        "[registry]",
        "[github]\nrepository = 'a/b'\ntoken = {env = 'BLOCKS_TEST_TOKEN'}\nchecks_apps = ['']\n[registry]",
        "github.checks_apps: an entry is empty",
    ),
    (
        "a repository of another form",
        "[registry]",
        "[github]\nrepository = 'a'\ntoken = {env = 'BLOCKS_TEST_TOKEN'}\n[registry]",
        "github.repository: does not have the form that it must have. As owner/name.",
    ),
    (
        "a status of another form",
        "[registry]",
        "[telemetry]\nstatus_values = {partial = '7xx'}\n[registry]",
        "telemetry.status_values.partial: does not have the form that it must have. What a word of your own means",
    ),
    (
        "an alert without a name",
        "[registry]",
        "[gates]\nalerts = ['\u2060']\n[registry]",
        "gates.alerts[0]: must have at",
    ),
    (
        "an item that is not needed without a reason",
        "[registry]",
        "[gates]\nnot_needed = {ci = '-'}\n[registry]",
        "gates.not_needed.ci: must have at least one letter or digit",
    ),
    (
        "a scan that nothing fails",
        "[registry]",
        "[gates]\nscan_fails_on = []\n[registry]",
        "gates.scan_fails_on: must have at least 1 item",
    ),
    (
        "a number that is true",
        "[registry]",
        "[gates]\non_call_s = true\n[registry]",
        "gates.on_call_s: must not be true",
    ),
    (
        "a share that is true",
        "[registry]",
        "[policy]\ncanary_percent = true\n[registry]",
        "policy.canary_percent: must",
    ),
    ("a timeout that is true", 'url = "http://x"', 'url = "http://x"\nstep_s = true', "prometheus.step_s: must not be"),
    (
        "looks that are rarer than samples count",
        "[registry]",
        "[policy]\ntick_s = 4000\n[registry]",
        "policy.tick_s: tick_s = 4000 is above freshness_s = 60",
    ),
    (
        "a window beyond the calendar",
        "[registry]",
        "[gates]\nfreeze = [{name = 'x', begins = '0001-01-01 00:00', ends = '0001-01-02 00:00', "
        "zone = 'Asia/Tokyo'}]\n[registry]",
        "gates.freeze[0]: 0001-01-01 00:00 to 0001-01-02 00:00 in Asia/Tokyo is beyond the calendar",
    ),
    ("an endless step", 'url = "http://x"', 'url = "http://x"\nstep_s = inf', "prometheus.step_s: inf s is longer"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
async def test_a_mistake_is_named_with_its_place_and_the_next_step(
    write: Write, right: str, wrong: str, said: str
) -> None:
    """Where it stands in the file, what it is, what to do."""
    assert right in RIGHT
    assert any(problem.startswith(said) for problem in await problems(write(RIGHT.replace(right, wrong, 1))))


async def test_a_mark_at_the_beginning_and_other_line_ends_do_not_matter(write: Write) -> None:
    """As editors of other systems write them; another encoding is refused in a sentence."""
    path = write("")
    path.write_bytes(b"\xef\xbb\xbf" + RIGHT.replace("\n", "\r\n").encode())
    assert (await files.read(path)).name == "small"
    path.write_bytes(RIGHT.encode("utf-16"))
    assert await problems(path) == ["cannot be read: it is not UTF-8 (invalid start byte). Save it as UTF-8."]


async def test_every_mistake_is_named_at_once(write: Write) -> None:
    """Nobody has to apply a file five times to get it right, and no mistake is named twice."""
    text = RIGHT.replace('region = "r"', "").replace("http://x", "x").replace("{revision}", "{r}", 1)
    found = await problems(write(text.replace("BLOCKS_TEST_TOKEN", "NOT_SET") + "[sentyr]\n"))
    places = [problem.split(":", 1)[0] for problem in found]
    assert sorted(places) == ["cloud_run.region", "prometheus.url", "queries.requests", "sentyr", "slack.token"]


@pytest.mark.parametrize(
    "token", ['"xoxb-1-secret"', '{value = "xoxb-1-secret"}', '{env = "X", value = "xoxb-1-secret"}'], ids=str
)
async def test_a_secret_in_a_file_is_refused_and_not_repeated(write: Write, token: str) -> None:
    """The file would be committed, and the message ends up in a log."""
    found = await problems(write(RIGHT.replace('{env = "BLOCKS_TEST_TOKEN"}', token)))
    assert found[0].startswith("slack.token: a secret does not stand in this file")
    assert "xoxb" not in " ".join(found)


async def test_a_secret_with_a_flaw_is_refused_and_not_repeated(write: Write, tmp_path: Path) -> None:
    """Two lines in a file are no token."""
    (tmp_path / "token").write_text("xoxb-1-secret\nxoxb-2-secret\n")
    found = await problems(write(RIGHT.replace('env = "BLOCKS_TEST_TOKEN"', 'file = "token"')))
    assert len(found) == 1
    assert found[0].endswith("a secret must be one word of printable ASCII characters.")
    assert "xoxb" not in found[0]


async def test_a_wrong_value_hides_no_rule_that_is_broken(write: Write) -> None:
    """A value that is no number, and a service that does not exist: both in the first look."""
    low = '[policy]\ncanary_percent = 101\nlow_traffic = {ethixai-bakend = "hold"}\n'
    places = [problem.split(":", 1)[0] for problem in await problems(write(RIGHT + low))]
    assert places == ["policy.canary_percent", "policy.low_traffic.ethixai-bakend"]


async def test_a_service_is_named_once(write: Write) -> None:
    """Two of one name could not be told apart in a release."""
    service = RIGHT[RIGHT.index("[[services]]") : RIGHT.index("[queries]")]
    assert await problems(write(RIGHT.replace("[queries]", service + "[queries]"))) == [
        "services: ethixai-backend is named twice."
    ]


async def test_a_mistake_has_the_line_of_its_key_or_of_its_table(write: Write) -> None:
    """In the order of the file, also behind a text of several lines."""
    text = RIGHT.replace('f{revision="{revision}"}', "''\nf{revision}\nurl = 3\n''").replace('"http://x"', "3")
    lines = await problem_lines(write(text.replace('region = "r"', 'regoin = "r"')))
    written = text.splitlines()
    assert lines[0].startswith(
        f":{written.index('[cloud_run]') + 3}: cloud_run.regoin: unknown key; did you mean region?"
    )
    assert lines[1].startswith(f":{written.index('url = 3', written.index('[prometheus]')) + 1}: prometheus.url:")


LOW = '[policy]\nlow_traffic = {ethixai-bakend = "hold"}\n'
LONG = "a" * 39
RULES = [
    ("low traffic of an unknown service", lambda t: t + LOW, "policy.low_traffic.ethixai-bakend: there is no service"),
    ("a rehearsal's policy on Google Cloud", lambda t: t + '[policy]\nbase = "compressed"\n', "policy.base: the "),
    (
        "a bake that is too short",
        lambda t: t + "[policy]\nbake_s = 120\n",
        "policy.bake_s: a bake of 120 s is too short",
    ),
    ("a name too long for the tag", lambda t: t.replace("ethixai-backend", LONG, 1), "services[0].name: " + LONG),
    (
        "production without a pager",
        lambda t: UNSIGNED + t.replace('"small"', '"production"'),
        "pagers: production has no pager",
    ),
    (
        "a staging before it, and no pager",
        lambda t: UNSIGNED + 'staging = "s"\n' + t,
        "pagers: production has no pager",
    ),
    (
        "production without a signing key",
        lambda t: 'pager = "none"\n' + t.replace('"small"', '"production"'),
        "signing: production has no signing key",
    ),
    (
        "nothing is signed, with a key",
        lambda t: t + SIGNING.replace("TOKEN", "KEY") + "none = true\n",
        "signing: says that nothing is signed",
    ),
    ("a signing key that is short", lambda t: t + SIGNING, "signing.keys[0]: a signing key has at least 32"),
    ("an unknown word about signing", lambda t: 'signing = "no"\n' + t, "signing: "),
    (
        "a pager that is not there",
        lambda t: t + PAGER + "[routing]\npagers = {security = ['security']}\n",
        "routing.pagers.security: there is no pager 'security'; there is pagerduty",
    ),
    (
        "nobody for P1",
        lambda t: t + PAGER + "[routing]\npagers = {pagerduty = ['P0']}\n",
        "routing.pagers: no pager is called for P1",
    ),
    (
        "a channel that Slack does not have",
        lambda t: t + "[routing]\nchannels = {late = ['platform']}\n",
        "routing.channels.late: [slack.channels] has no platform",
    ),
    (
        "a message for nobody",
        lambda t: t + "[routing]\nchannels = {late = []}\n",
        "routing.channels.late: no audience gets it",
    ),
    (
        "nobody for security",
        lambda t: t + "[contacts]\nCTO = {slack = '@cto', called_for = ['P0', 'P1']}\n",
        "contacts: no contact is called for security",
    ),
    (
        "an unknown kind of message",
        lambda t: t + "[routing]\nchannels = {lates = ['releases']}\n",
        "routing.channels.lates: must be 'starting', ",
    ),
    (
        "an unknown severity",
        lambda t: t + "[contacts]\nCTO = {slack = '@cto', called_for = ['P9']}\n",
        "contacts.CTO.called_for[0]: must be 'P0', ",
    ),
    (
        "a key that no contact has",
        lambda t: t + "[contacts]\nCTO = {slak = '@cto', slack = '@cto'}\n",
        "contacts.CTO.slak: unknown key; did you mean slack?",
    ),
    (
        "an id that Slack does not have",
        lambda t: t + "[contacts]\nCTO = {slack = '@cto', slack_id = '@cto'}\n",
        "contacts.CTO.slack_id: does not have the form that it must have. Slack's id",
    ),
    ("itself before it", lambda t: ALONE + t, "staging: small would have to pass itself first"),
    (
        "a bake that outlives the lease",
        lambda t: t + "[policy]\nbake_s = 7201\n",
        "policy.bake_s: bake_s = 7201 is above claim_deadline_s = 7200: the lease would end before the bake",
    ),
    (
        "limits in the wrong order",
        lambda t: t + "[policy]\nerror_ratio_max = 0.0005\n",
        "policy.error_ratio_investigate: error_ratio_investigate = 0.001 is above error_ratio_max = 0.0005",
    ),
    (
        "samples that are always stale",
        lambda t: t + "[policy]\nscrape_s = 90\n",
        "policy.scrape_s: scrape_s = 90 is above freshness_s = 60: every sample would be stale",
    ),
    (
        "a query for every revision at once",
        lambda t: t.replace('a{revision="{revision}"}', "a"),
        "queries.requests: {revision} is missing, so canary and stable cannot be told apart",
    ),
    (
        "a row of the playbook's table twice",
        lambda t: t + "[[signals]]\nname = 'CPU'\nlimit = 0.7\n[[signals]]\nname = 'CPU'\nlimit = 0.9\n",
        "signals[1].name: 'CPU' is named twice",
    ),
    ("no pager, and one", lambda t: 'pager = "none"\n' + t + PAGER, 'pager: pager is "none", and there is a pager too'),
]
UNSIGNED = 'signing = "none"\n'
ALONE = UNSIGNED + 'pager = "none"\nstaging = "small"\n'
SIGNING = '[signing]\nkeys = [{env = "BLOCKS_TEST_TOKEN"}]\n'
PAGER = '[pagerduty]\nrouting_key = {env = "BLOCKS_TEST_TOKEN"}\n'


@pytest.mark.parametrize(("change", "said"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
async def test_an_environment_that_cannot_be_trusted_with_a_release_is_refused(
    write: Write, change: Callable[[str], str], said: str
) -> None:
    """Each of its fields is right; together they are not. Exactly one problem is named."""
    (found,) = await problems(write(change(RIGHT)))
    assert found.startswith(said)


async def test_a_secret_that_cannot_be_read_hides_no_mistake_and_one_cause_is_said_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop has none of production's secrets: what is wrong with the file is said all the same."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    text = (RIGHT + LOW + PAGER).replace('env = "BLOCKS_TEST_TOKEN"', 'secret_manager = "a-token"')
    found = await problems(write(text))
    (secret,) = (one for one in found if "Secret Manager, asked for" in one)
    assert secret.endswith("The same holds for pagerduty.routing_key.")
    assert any(one.startswith("policy.low_traffic.ethixai-bakend: there is no service") for one in found)


@pytest.mark.parametrize("change", [lambda t: 'pager = "none"\n' + t, lambda t: t + PAGER], ids=["none", "one"])
async def test_production_has_a_pager_or_says_that_it_has_none(write: Write, change: Callable[[str], str]) -> None:
    """In so many words."""
    environment = await files.read(write(UNSIGNED + change(RIGHT.replace('"small"', '"production"'))))
    assert environment.name == "production"


async def test_signing_keys_are_references_and_two_may_be_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment can be stored: it holds where the keys are, and none of them."""
    monkeypatch.setenv("BLOCKS_TEST_NEW_KEY", "n" * 32)
    monkeypatch.setenv("BLOCKS_TEST_OLD_KEY", "o" * 32)
    keys = '[{env = "BLOCKS_TEST_NEW_KEY"}, "env:BLOCKS_TEST_OLD_KEY"]'
    environment = await files.read(write(RIGHT + f"[signing]\nkeys = {keys}\n"))
    assert [str(key) for key in environment.signing.secrets] == ["env:BLOCKS_TEST_NEW_KEY", "env:BLOCKS_TEST_OLD_KEY"]
    stored = environment.model_dump(mode="json")["signing"]
    assert stored == {"secrets": ["env:BLOCKS_TEST_NEW_KEY", "env:BLOCKS_TEST_OLD_KEY"], "none": False}
    assert [key.secret for key in await environment.signer.keys()] == [b"n" * 32, b"o" * 32]


async def test_a_name_of_38_characters_is_allowed(write: Write) -> None:
    """With the tag of a release, `c-1f2e3d`, it has the 46 that Cloud Run allows."""
    environment = await files.read(write(RIGHT.replace("ethixai-backend", "a" * 38, 1)))
    assert environment.service_names == ("a" * 38,)


async def test_a_longer_name_goes_without_tags_only_if_the_file_says_so(write: Write) -> None:
    """Then a new revision is not smoke-tested before it has users, and the file says that in so many words."""
    long = RIGHT.replace("ethixai-backend", "a" * 40, 1)
    (found,) = await problems(write(long))
    assert "at most 38" in found
    assert "has_tags = false" in found
    environment = await files.read(
        write(long.replace('name = "' + "a" * 40 + '"', 'name = "' + "a" * 40 + '"\nhas_tags = false', 1))
    )
    assert environment.untagged == ("a" * 40,)


async def test_no_chat_is_needed(write: Write) -> None:
    """An environment may have no channel at all."""
    environment = await files.read(write(RIGHT[: RIGHT.index("[slack]")]))
    assert environment.channels == []


async def test_a_table_named_after_its_vendor_is_an_entry_of_its_port(write: Write) -> None:
    """Both forms give the same environment, and a second entry has its own name."""
    listed = RIGHT.replace("[slack]", '[[channels]]\ntype = "slack"')
    assert await files.read(write(listed)) == await files.read(write(RIGHT))
    second = listed[listed.index("[[channels]]") :] + 'name = "another"\n'
    both = await files.read(write(RIGHT + second))
    assert [channel.name for channel in both.channels] == ["slack", "another"]


async def test_an_environment_that_the_first_edition_saved_is_read(write: Write) -> None:
    """It has a field for each vendor, with its block type beside it, and null where there is none."""
    now = await files.read(write(RIGHT))
    saved = now.model_dump(context={"include_secrets": True})
    (slack,) = saved.pop("channels")
    slack.pop("name")
    for later in ("pagers", "pager", "tickets", "code_host", "release_tracker", "block_type_slug"):
        saved.pop(later)
    saved |= {"slack": slack, "github": None, "pagerduty": None, "sentry": None}
    assert Environment.model_validate(saved) == now


async def test_a_mistake_in_a_list_is_named_where_it_stands(write: Write) -> None:
    """Whether the vendor has its own table or is an entry of the list."""
    entry = '[[channels]]\ntype = "slack"\nname = "b"\ntoken = {env = "NOT_SET"}\nchannels = {}\n'
    text = RIGHT + entry + entry.replace("slack", "slak").replace('"b"', '"c"')
    found = await problems(write(text.replace("BLOCKS_TEST_TOKEN", "NOT_SET", 1)))
    assert [problem.split(":", 1)[0] for problem in found] == ["slack.token", "channels[0].token", "channels[1]"]
    assert "there is no vendor 'slak'; known are" in found[2]


async def test_a_vendor_that_cannot_do_it_is_refused(write: Write) -> None:
    """A registry is no chat."""
    found = await problems(write(RIGHT + '[[channels]]\ntype = "registry"\n'))
    assert found == ["channels[0]: EthixAI Registry cannot be used here; write a table of a vendor that is a Channel."]


def test_the_check_needs_no_server_and_shows_no_trace(write: Write) -> None:
    """As a person calls it: what is wrong, one line each, and an exit status of its own."""
    command = [sys.executable, "-m", "blocks", "check", str(write(RIGHT.replace("http://x", "x")))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert "prometheus.url: must be http" in line


def test_the_check_says_that_nothing_is_wrong(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 0."""
    assert main(["check", str(write(RIGHT))]) == 0
    assert capsys.readouterr().out == "small: nothing is wrong\n"


def test_nothing_of_an_environment_is_optional_by_accident() -> None:
    """What a release can do without is written down here."""
    optional = {name for name, field in Environment.model_fields.items() if not field.is_required()}
    assert optional == {
        "gates",
        *("staging", "required_checks", "ui_url", "contacts", "routing", "server_notices"),
        *("channels", "pagers", "pager", "tickets", "code_host", "release_tracker"),
        *("secret_manager", "mongodb", "migrations", "atlas", "signing", "signals", "telemetry", "dashboard"),
    }


OWN_SIGNAL = """
[[signals]]
name = "payments declined"
kind = "ratio"
total = 'payments_total{revision="{revision}"}'
bad_where = {result = "declined"}
limit = 0.02
breach = "rollback"
"""


async def test_a_signal_of_the_teams_own_stands_beside_those_that_are_shipped(write: Write) -> None:
    """Configuration alone. A row with a shipped name changes it, and one of the playbook's table sets the policy."""
    more = (
        '[[signals]]\nname = "completed requests"\nat_least = 0.5\n[[signals]]\nname = "errors (5xx)"\nlimit = 0.01\n'
    )
    environment = await files.read(write(RIGHT + OWN_SIGNAL + more))
    rows = {one.name: one for one in environment.signals}
    assert rows.keys() == {one.name for one in DEFAULT_SIGNALS} | {"payments declined"}
    assert rows["completed requests"].model_dump()["at_least"] == 0.5
    assert environment.policy.error_ratio_max == 0.01


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("limit = 0.02", "limt = 0.02"), "signals[0].limt: unknown key; did you mean limit?"),
        (("limit = 0.02", "limit = 2"), "signals[0].limit: must be less than 1."),
        (('"rollback"', '"rolback"'), "signals[0].breach: must be 'rollback', 'scale' or 'hold'."),
        (
            ('kind = "ratio"', 'kind = "rate"'),
            "signals[0].kind: there is no kind 'rate'; use ratio, gauge, count, share.",
        ),
        (('revision="{revision}"', 'revision="{revison}"'), "signals[0].total: {revison} is no placeholder"),
        (('{revision="{revision}"}', ""), "signals[0].total: {revision} is missing"),
        (
            ('breach = "rollback"', 'breach = "rollback"\nservices = ["ethixai-backen"]'),
            "signals[0].services: there is no service 'ethixai-backen'; did you mean 'ethixai-backend'?",
        ),
        (('name = "payments declined"\n', 'name = "errors (5xx)"\n'), "signals[0].total: 'errors (5xx)' is a row of"),
    ],
)
async def test_a_wrong_signal_is_refused_with_its_field(write: Write, change: tuple[str, str], problem: str) -> None:
    """And with what to write instead."""
    found = await problems(write(RIGHT + OWN_SIGNAL.replace(*change)))
    assert any(one.startswith(problem) for one in found), found
