"""What was measured, as JSON on disk: a file per table, kept beside the report that is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.machine import describe_machine, today
from tests.benchmarks.process import Measured, Memory


@dataclass(slots=True)
class Row:
    """The rounds of one subject at one size. `failure`: what stopped it, "" if nothing did."""

    table: str
    subject: str
    size: int
    rounds: list[Measured] = field(default_factory=list)
    failure: str = ""
    date: str = ""

    def values(self, of: Callable[[Measured], float]) -> list[float]:
        """One number of each round."""
        return [of(measured) for measured in self.rounds]


class Measurements:
    """Rows of all tables in a folder. A row that is measured again replaces its former self.

    What was measured on another machine, or with other versions, is dropped when its table is measured again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, tuple[dict[str, str], list[Row]]] = {}
        for file in sorted(folder.glob("*.json")):
            plain = json.loads(file.read_text(encoding="utf-8"))
            self._tables[file.stem] = plain["machine"], [_row(row) for row in plain["rows"]]

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, in the order they were measured; those without any round have a `failure`."""
        return self._tables[table][1] if table in self._tables else []

    def find(self, table: str, subject: str, size: int | None = None) -> Row | None:
        """The row of a subject at a size (None: at its largest), if a round of it came to its end."""
        found = [row for row in self.rows(table) if row.subject == subject and row.rounds]
        found = [row for row in found if size is None or row.size == size]
        return max(found, key=lambda row: row.size, default=None)

    def machines(self) -> list[dict[str, str]]:
        """The machines of all tables; one, unless tables were measured on several."""
        different: list[dict[str, str]] = []
        for machine, _ in self._tables.values():
            if machine not in different:
                different.append(machine)
        return different

    def all_rows(self) -> Iterable[Row]:
        """All rows of all tables."""
        return (row for _, rows in self._tables.values() for row in rows)

    def keep(self, row: Row) -> None:
        """Take in a row, and write its table."""
        row.date = today()
        machine = describe_machine()
        former_machine, rows = self._tables.get(row.table, (machine, []))
        rows = [each for each in rows if (each.subject, each.size) != (row.subject, row.size)]
        self._tables[row.table] = machine, [*(rows if former_machine == machine else []), row]
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = {"machine": machine, "rows": [asdict(each) for each in self._tables[row.table][1]]}
        text = json.dumps(plain, indent=1, ensure_ascii=False, default=float)
        (self._folder / f"{row.table}.json").write_text(text + "\n", encoding="utf-8")


def _row(plain: dict) -> Row:
    rounds = [Measured(**{**each, "memory": Memory(**each["memory"])}) for each in plain.pop("rounds")]
    return Row(**plain, rounds=rounds)
