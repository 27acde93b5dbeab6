"""Text from people, logs and vendors as each destination shows it literally. Escaped once, where it leaves."""

import re
import shlex

BREAK = "  \n"
"""A line break within a paragraph of Markdown."""

_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)]))")
_ENTITY = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
NO_MENTION = "\u2060"
"""A word joiner, which cannot be seen: ``@team`` with one after the @ notifies no team on GitHub."""
_MENTION = re.compile(r"@(?=\w)")

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
"""What ends a line, or hides what comes after it."""


def one_line(text: str) -> str:
    """``text`` with every line break and control character as one space."""
    return _CONTROL.sub(" ", text).strip()


def slack_text(text: str) -> str:
    """``text`` as Slack shows it: no mention, no link but the addresses that stand in it.

    Slack reads ``<!channel>``, ``<@U1>`` and ``<url|label>``; these three characters are all that it asks to escape.
    """
    return text.translate(_SLACK)


def markdown(text: str) -> str:
    """``text`` as one run of Markdown that shows it, for the Prefect UI and GitHub, in a table cell, too.

    No image, link, heading, list, HTML or mention comes out of it; a bare address stays one.
    """
    escaped = _MARKDOWN.sub(r"\\\g<0>", one_line(text)).translate(_ENTITY)
    escaped = _BLOCK_START.sub(lambda found: f"{found[1]}\\{found[2]}" if not found[2].isdigit() else found[0], escaped)
    escaped = re.sub(r"^(\s*\d+)([.)])", r"\1\\\2", escaped)
    return _MENTION.sub(f"@{NO_MENTION}", escaped)


def code_span(text: str) -> str:
    """``text`` as Markdown code within a line. Its fence is longer than any row of backticks in it."""
    line = one_line(text)
    fence = "`" * (_longest_row(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def code_block(text: str) -> str:
    """``text`` as a block of Markdown code. Its fence is longer than any row of backticks in it."""
    fence = "`" * max(3, _longest_row(text) + 1)
    return f"{fence}\n{text}\n{fence}"


def shell(argument: str) -> str:
    """``argument`` as one word of a command that a person copies."""
    return shlex.quote(argument)


def actions_text(text: str) -> str:
    """``text`` as one line of a GitHub Actions log. A runner obeys a line that begins with ``::``, and one with ``##[``
    anywhere in it (actions/runner, ActionCommand.cs)."""
    line = one_line(text).replace("##[", f"##{NO_MENTION}[")
    return f" {NO_MENTION}{line}" if line.startswith("::") else line


def actions_data(text: str) -> str:
    """``text`` as the message of a GitHub Actions command such as ``::error::``."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _longest_row(text: str) -> int:
    return max((len(row) for row in re.findall(r"`+", text)), default=0)
