"""The checks before a release as people read them: a table for the UI, a few lines for a chat."""

from collections.abc import Iterable, Sequence

from playbook.checklist.items import Answer, Item, Override
from playbook.messages.escape import markdown
from playbook.text import clean

FACT_MAX = 600
LINKS = ("https://", "http://")


def table(items: Iterable[Item]) -> str:
    """A row for each item: its answer, whether it stops a release, and what was seen. Markdown."""
    head = ("| item | fact |", "|---|---|")
    return "\n".join(
        (*head, *(f"| {one.answer.mark} {one.topic.words}{_answer(one)} | {_fact(one)} |" for one in items))
    )


def _answer(item: Item) -> str:
    """What its mark does not say."""
    if item.answer is Answer.PASS:
        return ""
    used, stops = item.override_in_use, "" if item.blocks or item.is_met else ", stops nothing"
    override = f", overridden by {markdown(used.by)}: {markdown(used.reason)}" if used else ""
    return f": {item.answer}{stops}{override}"


def _fact(item: Item) -> str:
    link = f" [look](<{item.url.replace('<', '%3C').replace('>', '%3E')}>)" if item.url.startswith(LINKS) else ""
    return markdown(clean(item.seen, FACT_MAX)) + link


def chat_lines(items: Sequence[Item]) -> list[str]:
    """For a chat: how many passed in one line, and a line for each item that did not."""
    if not items:
        return []
    count = {answer: sum(one.answer is answer for one in items) for answer in Answer}
    said = ", ".join(f"{number} {answer}" for answer, number in count.items() if number)
    return [f"Checklist: {said}", *(f"• {_first_line(one)}" for one in items if not one.is_met)]


def _first_line(item: Item) -> str:
    said = str(item.model_copy(update={"seen": clean(item.seen.splitlines()[0] if item.seen else "", 300)}))
    return said if item.blocks or item.override_in_use else f"{said} (stops nothing)"


def overridden(overrides: Iterable[Override]) -> list[str]:
    """A line for each override of a release, for every text that mentions the release."""
    return [f"⚠️ {override}" for override in overrides]
