"""[[signals]] of an environment file: rows that change one by its name, and rows that are added."""

import difflib
from collections.abc import Iterator
from typing import Any

from blocks.toml_lines import Place
from playbook.analysis.policy import Policy
from playbook.analysis.signals import DEFAULT_SIGNALS, KINDS, POLICY_FIELDS, playbook_table

Table = dict[str, Any]
Problem = tuple[Place, str]

DEFAULTS: dict[str, Table] = {
    one.name: one.model_dump(mode="json", exclude_defaults=True) | {"kind": one.kind} for one in DEFAULT_SIGNALS
}
PLAYBOOK: dict[str, str] = {one.name: one.kind for one in playbook_table(Policy())}


def apply(table: Table, policy_written: Table) -> tuple[list[Problem], list[int]]:
    """``table["signals"]`` holds every row afterwards: the file's, then the shipped ones that it does not name.

    A row with the name of a shipped one changes what it says. A row of the playbook's table changes its limit, which is
    a field of [policy]. Returns what is wrong, and where each row that is left stands in the file.
    """
    written = table.get("signals", [])
    if not isinstance(written, list):
        return [(("signals",), "must be a list of tables, [[signals]].")], []
    problems: list[Problem] = []
    rows: list[Any] = []
    places: list[int] = []
    tuned: set[str] = set()
    for index, row in enumerate(written):
        name, kind_of = (row.get("name"), row.get("kind")) if isinstance(row, dict) else (None, None)
        wrong = [key for key, value in (("name", name), ("kind", kind_of)) if not isinstance(value, str | None)]
        if wrong:
            problems += [(("signals", index, key), "must be a text in quotes.") for key in wrong]
            continue
        if name in PLAYBOOK:
            if name in tuned:
                problems.append((("signals", index, "name"), f"{name!r} is named twice; say it in one row."))
            tuned.add(name)
            problems += _to_policy(row, index, table, policy_written)
            continue
        if name in DEFAULTS:
            kind = DEFAULTS[name]["kind"]
            if row.get("kind", kind) != kind:
                problems.append(
                    (("signals", index, "kind"), f"{name!r} is shipped as a {kind}; give yours another name.")
                )
                continue
            row = DEFAULTS[name] | row
        elif isinstance(row, dict) and kind_of not in KINDS:
            problems.append((("signals", index, "kind"), _unknown_kind(kind_of, name)))
            continue
        rows.append(row)
        places.append(index)
    named = {row.get("name") for row in rows if isinstance(row, dict)}
    table["signals"] = [*rows, *(row for name, row in DEFAULTS.items() if name not in named)]
    return problems, places


def _unknown_kind(kind: object, name: object) -> str:
    near = difflib.get_close_matches(str(name), [*DEFAULTS, *PLAYBOOK], 1)
    hint = f" To change a shipped signal, use its name; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(KINDS)
    if kind is None:
        return f"missing; a signal is one of {known}.{hint}"
    return f"there is no kind {kind!r}; use {known}.{hint}"


def _to_policy(row: Table, index: int, table: Table, policy_written: Table) -> Iterator[Problem]:
    """A row of the playbook's table: its numbers are fields of [policy]."""
    name = row["name"]
    known = {key: field for (of, key), field in POLICY_FIELDS.items() if of == name}
    for key, value in row.items():
        place: Place = ("signals", index, key)
        if key == "name" or (key == "kind" and value == PLAYBOOK[name]):
            continue
        if key not in known:
            can = f"only {', '.join(known)} can be changed" if known else "nothing of it can be changed"
            yield (
                place,
                f"{name!r} is a row of the playbook's table; {can}. To be without it, see allow_unseen in [policy].",
            )
        elif known[key] in policy_written and policy_written[known[key]] != value:
            yield place, f"[policy] says {known[key]} = {policy_written[known[key]]}; say it in one place."
        elif isinstance(table.get("policy"), dict):
            table["policy"][known[key]] = value
