"""A seal shows any flipped bit, any cut, and any file in the place of another; readers elsewhere do not notice it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from engines.core import tables
from engines.core.errors import DamagedError
from engines.core.proof.reading import check, json_of, sealed_json, sealed_table, table_of
from engines.core.storage import Storage, open_storage
from engines.core.text import printable

ROWS = pa.table([["/photos/a.jpg"], ["a"], ["empty"], [""]], schema=tables.REJECTS)
PARQUET, JSON = "rejects/f-s.parquet", "models/f/canary.json"


def parsed_table(storage: Storage, content: bytes) -> object:
    check(storage, PARQUET, content)
    return table_of(storage, PARQUET, content).to_pylist()


def parsed_json(storage: Storage, content: bytes) -> object:
    check(storage, JSON, content)
    return json_of(storage, JSON, content)


CASES = {
    "parquet": (sealed_table(ROWS, PARQUET), parsed_table),
    "json": (sealed_json({"digest": "0", "cpu": "a CPU"}, JSON), parsed_json),
}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


@pytest.mark.parametrize("kind", CASES)
def test_any_flipped_bit_is_noticed(storage: Storage, kind: str) -> None:
    content, parse = CASES[kind]
    parse(storage, content)
    for position in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedError):
            parse(storage, bytes(flipped))


@pytest.mark.parametrize("kind", CASES)
def test_any_cut_is_noticed(storage: Storage, kind: str) -> None:
    content, parse = CASES[kind]
    for length in range(len(content)):
        with pytest.raises(DamagedError):
            parse(storage, content[:length])


def test_a_whole_file_in_another_place_is_foreign(storage: Storage) -> None:
    with pytest.raises(DamagedError, match=r"foreign: it is rejects/f-s\.parquet") as error:
        check(storage, "rejects/f-t.parquet", CASES["parquet"][0])
    assert error.value.finding == "foreign"


def test_other_readers_see_the_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "rejects.parquet"
    path.write_bytes(CASES["parquet"][0])
    assert pd.read_parquet(path).to_dict("records") == ROWS.to_pylist()
    assert json.loads(CASES["json"][0])["cpu"] == "a CPU"


def test_file_names_do_nothing_to_a_terminal() -> None:
    assert printable("a\x1b[31mred\x07\r\u202e.jpg\udcff") == r"a\x1b[31mred\x07\r\u202e.jpg\udcff"
    assert printable("Äpfel 🍎 früchte\nzwei\tdrei") == "Äpfel 🍎 früchte\nzwei\tdrei"
