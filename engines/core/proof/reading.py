"""Reading what a run wrote, and proving it: every reader of files of an output comes through here.

| finding   | what it means                                           |
|-----------|---------------------------------------------------------|
| missing   | the file is not there                                   |
| truncated | it is empty, or its end is missing                      |
| corrupt   | its bytes are not those that were written               |
| foreign   | it is whole, and another file than the one of this name |

What is found is a DamagedError, whatever kind of file it is: a run says it, makes the file again and counts it, `fruits
verify` lists it. A file of before there were seals is taken as it is, as long as it can be read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engines.core.errors import DamagedError, Finding, GoneError
from engines.core.proof.seal import BrokenSealError, blank_seal, holds, seal, seal_of
from engines.core.storage import Storage

if TYPE_CHECKING:
    # Records are JSON, and are read without it.
    import pyarrow as pa

_LOGGER = logging.getLogger("fruits.output")

T = TypeVar("T")

_ENDS = {"parquet": b"PAR1", "json": b"}", "html": b"</html>"}
"""How whole files end that have no seal."""

_SEAL_FIELD = "seal"


@dataclass(frozen=True, slots=True)
class Proven:
    """What a file holds, and whether a seal has proven it."""

    content: bytes
    sealed: bool


def read_proven(storage: Storage, key: str, sealed_as: str = "") -> Proven:
    """The bytes of a file. Raises DamagedError, and TransientError or StorageError for a storage that fails.

    `sealed_as`: what its seal calls it, the key by default.
    """
    try:
        content = storage.read(key)
    except GoneError as error:
        raise damaged(storage, key, "missing") from error
    return Proven(content, check(storage, key, content, sealed_as))


def check(storage: Storage, key: str, content: bytes, sealed_as: str = "") -> bool:
    """Whether the bytes of this file are sealed. Raises DamagedError when they are not what was written there."""
    if not content:
        raise damaged(storage, key, "truncated", "it is empty")
    try:
        found = seal_of(content)
    except BrokenSealError as error:
        raise damaged(storage, key, "corrupt", str(error)) from error
    if found is None:
        return False
    if not holds(content):
        raise damaged(storage, key, "corrupt", "its bytes are not those that were written")
    if found.key != (sealed_as or key):
        raise damaged(storage, key, "foreign", f"it is {found.key}")
    return True


def read_table(storage: Storage, key: str) -> pa.Table:
    """A parquet file. Raises as `read_proven`."""
    return table_of(storage, key, read_proven(storage, key).content)


def table_of(storage: Storage, key: str, content: bytes) -> pa.Table:
    """The table of bytes that were read from `key`. Raises DamagedError."""
    from engines.core.tables import from_parquet

    return parsed(storage, key, from_parquet, content)


def read_named(storage: Storage, key: str, digest: str) -> pa.Table:
    """A parquet file whose name has the beginning of the SHA-256 of its bytes: `digest`. Raises as `read_proven`."""
    content = read_proven(storage, key).content
    if not hashlib.sha256(content).hexdigest().startswith(digest):
        check_end(storage, key, content)
        raise damaged(storage, key, "corrupt", "its bytes are not those that its name says")
    return table_of(storage, key, content)


def read_json(storage: Storage, key: str) -> dict[str, Any]:
    """A JSON object, without its seal. Raises as `read_proven`."""
    return json_of(storage, key, read_proven(storage, key).content)


def json_of(storage: Storage, key: str, content: bytes) -> dict[str, Any]:
    """The JSON object of bytes that were read from `key`, without its seal. Raises DamagedError."""
    plain = parsed(storage, key, json.loads, content)
    if not isinstance(plain, dict):
        raise damaged(storage, key, "corrupt", "it is no JSON object")
    plain.pop(_SEAL_FIELD, None)
    return plain


def sealed_json(plain: dict[str, Any], key: str) -> bytes:
    """A JSON object with its seal, to be written to `key`."""
    text = json.dumps({**plain, _SEAL_FIELD: blank_seal(key)}, indent=1, ensure_ascii=False)
    return seal(text.encode(), key)


def sealed_table(table: pa.Table, key: str, facts: dict[str, Any] | None = None) -> bytes:
    """A parquet file with its seal, to be written to `key`; `facts` are for `tables.metadata_of`."""
    from engines.core.tables import to_parquet

    return seal(to_parquet(table, facts, seal=blank_seal(key)), key)


def check_end(storage: Storage, key: str, content: bytes) -> None:
    """Raise DamagedError for bytes that end before a file of this kind does."""
    if not content.rstrip().endswith(_ENDS.get(key.rpartition(".")[2], b"")):
        raise damaged(storage, key, "truncated", "its end is missing")


def sealed_npz(content: bytes, key: str) -> bytes:
    """An npz file with its seal, to be written to `key`. It is a zip archive, which ends with an empty comment."""
    comment = blank_seal(key).encode()
    return seal(content[:-2] + len(comment).to_bytes(2, "little") + comment, key)


def there(read: Callable[[], T]) -> T | None:
    """What `read` returns; None for a file that is to be written: it is not there, or damaged, which is said."""
    try:
        return read()
    except DamagedError as error:
        if error.finding != "missing":
            _LOGGER.warning("%s; it is written again", error.message)
        return None


def parsed(storage: Storage, key: str, parse: Callable[[bytes], T], content: bytes) -> T:
    """What `parse` makes of bytes that were read from `key`. What it cannot parse is a DamagedError."""
    try:
        return parse(content)
    except Exception as error:
        if not _cannot_parse(error):
            raise
        check_end(storage, key, content)
        detail = (str(error).strip().splitlines() or [""])[0][:200]
        raise damaged(storage, key, "corrupt", f"{type(error).__name__}: {detail}") from error


def _cannot_parse(error: Exception) -> bool:
    """Whether it is an error of bytes that are not what was written: each library has errors of its own for that."""
    import pyarrow as pa

    return isinstance(
        error, (pa.ArrowException, OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
    )


def damaged(storage: Storage, key: str, finding: Finding, detail: str = "", shard: str | None = None) -> DamagedError:
    """The error for a file of an output that is not what it has to be."""
    said = f"{storage.uri(key)} is {finding}{f': {detail}' if detail else ''}"
    return DamagedError(said, "Run again: what is damaged is made again.", finding, () if shard is None else (shard,))
