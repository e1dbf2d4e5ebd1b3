"""The seal: a file says which file it is, and the digest of its own bytes.

A seal is the text `<sealed KEY sha256:DIGEST>` near the end of a file: in the footer of parquet, in the last field of
JSON, in the comment of a zip archive, in a comment of HTML. KEY is the file's key in its output; DIGEST is the SHA-256
of the whole file with 64 zeros in place of the digest. So one flipped bit anywhere shows, and so does a whole file in
the wrong place. Other programs read such files as any other; nobody else needs to know of seals.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_BLANK = "0" * 64
_TAIL = 2**16
"""Seals are looked for in so many bytes at the end: behind them are at most a schema and the lengths of a footer."""

_SEAL = re.compile(rb"<sealed ([!-;=?-~]{1,300}) sha256:([0-9a-f]{64})>")
_BROKEN = re.compile(rb"<sealed | sha256:[0-9a-f]{8}")
"""Either half of a seal: one flipped bit leaves the other, so that a damaged seal is not taken for none."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What a file says of itself: the key it was written to, and its digest."""

    key: str
    digest: str


class BrokenSealError(ValueError):
    """There was a seal, and it cannot be read any more."""


def blank_seal(key: str) -> str:
    """What a writer puts into the file of this key, for `seal` to fill in."""
    return f"<sealed {key} sha256:{_BLANK}>"


def seal(content: bytes, key: str) -> bytes:
    """The file with its `blank_seal` filled in. Raises ValueError for a file without one."""
    blank = blank_seal(key).encode()
    start = content.rfind(blank)
    if start < 0:
        raise ValueError(f"{key} has no place for its seal")
    digest = hashlib.sha256(content).hexdigest().encode()
    start += len(blank) - len(_BLANK) - 1
    return content[:start] + digest + content[start + len(digest) :]


def seal_of(content: bytes) -> Seal | None:
    """The seal of a file, or of the part of it that holds the seal; None for a file of before there were seals.

    Raises BrokenSealError.
    """
    found = _last(content)
    return Seal(found[1].decode(), found[2].decode()) if found else None


def holds(content: bytes) -> bool:
    """Whether a file with a seal is, byte for byte, what was sealed."""
    found = _last(content)
    if found is None:
        return False
    start = max(0, len(content) - _TAIL) + found.start(2)
    digest = hashlib.sha256(content[:start])
    digest.update(_BLANK.encode())
    digest.update(memoryview(content)[start + len(_BLANK) :])
    return digest.hexdigest().encode() == found[2]


def _last(content: bytes) -> re.Match[bytes] | None:
    tail = content[-_TAIL:]
    found = None
    for found in _SEAL.finditer(tail):  # noqa: B007 - the last one: what stands in front may be anybody's text
        pass
    if found is None and _BROKEN.search(tail):
        raise BrokenSealError("its seal is broken")
    return found
