"""On which line of a TOML file a key stands. Python's own reader does not say."""

import re

Place = tuple[str | int, ...]
"""Where something stands in a file: ``("services", 1, "name")``."""

HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=(.*)""")
WORD = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")
MULTILINE = re.compile(r'"""|\'\'\'')


class TomlLines:
    """The lines of ``text`` by place. Keys inside an inline table have the line of that table."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {}
        counts: dict[Place, int] = {}
        table: Place = ()
        open_quote = ""
        for number, line in enumerate(text.splitlines(), 1):
            if open_quote:
                open_quote = "" if open_quote in line else open_quote
                continue
            if header := HEADER.match(line):
                table = _words(header[2])
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                else:
                    table = _in_last(table, counts)
                self._lines.setdefault(table, number)
            elif key := KEY.match(line):
                self._lines.setdefault((*table, *_words(key[1])), number)
                quotes = MULTILINE.findall(key[2])
                open_quote = quotes[0] if len(quotes) == 1 else ""

    def of(self, place: Place) -> int:
        """The line of ``place`` (a list's is its first entry's), or of the nearest table around it; 1 where there is
        none."""
        while place and place not in self._lines and (*place, 0) not in self._lines:
            place = place[:-1]
        return self._lines.get(place) or self._lines.get((*place, 0), 1)


def _words(dotted: str) -> Place:
    return tuple(next(filter(None, found), "") for found in WORD.findall(dotted))


def _in_last(table: Place, counts: dict[Place, int]) -> Place:
    """``[services.environment]`` belongs to the last ``[[services]]`` before it."""
    for size in range(len(table) - 1, 0, -1):
        if table[:size] in counts:
            return (*table[:size], counts[table[:size]], *table[size:])
    return table
