"""Reading parts of stored objects: as a file, and by blocks that neighbours share."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

from engines.core.storage import Storage, StoredObject

BLOCK = 4 * 2**20
"""Bytes of a request: at S3's latency of 20 to 50 ms, and some 100 MB/s for a stream, it is mostly transfer."""

_BLOCKS = 8
_SHARED = 2**20
"""Ranges from this size on are read by themselves: a request each costs little more than their transfer."""


class Ranges:
    """Ranges of the objects of a storage. May be used from several threads at once.

    Small ranges of an object store are read by the block they lie in, which is kept for those that follow: some
    thousand small photos are a few requests. Memory: 32 MB.
    """

    def __init__(self, storage: Storage, *, remote: bool) -> None:
        """`remote`: requests are dear. A folder is read directly; the operating system has blocks of its own."""
        self._storage = storage
        self._remote = remote
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, str, int], Future[bytes]] = OrderedDict()

    def read(self, key: str, start: int, length: int, version: str = "") -> bytes:
        """See Storage.read_range."""
        if length == 0:
            return b""  # S3 refuses an empty range
        if not self._remote or length >= _SHARED:
            return self._storage.read_range(key, start, length, version)
        first, last = start // BLOCK, (start + length - 1) // BLOCK
        blocks = b"".join(self._block(key, number, version) for number in range(first, last + 1))
        return blocks[start - first * BLOCK :][:length]

    def forget(self, key: str) -> None:
        """Read the object anew from now on."""
        with self._lock:
            for name in [name for name in self._blocks if name[0] == key]:
                del self._blocks[name]

    def _block(self, key: str, number: int, version: str) -> bytes:
        name = (key, version, number)
        with self._lock:
            found = self._blocks.get(name)
            if found is None:
                mine = self._blocks[name] = Future()
                while len(self._blocks) > _BLOCKS:
                    self._blocks.popitem(last=False)
            else:
                self._blocks.move_to_end(name)
        if found is not None:
            return found.result()
        try:
            content = self._storage.read_range(key, number * BLOCK, BLOCK, version)
        except BaseException as error:
            with self._lock:
                self._blocks.pop(name, None)
            mine.set_exception(error)
            raise
        mine.set_result(content)
        return content


class RangeFile(io.RawIOBase):
    """A stored object as a seekable file that is read by ranges.

    With `lend`, a thread reads what it has fetched already: libraries that hold a lock while they read wait for nobody.
    """

    def __init__(self, storage: Storage, item: StoredObject, *, unchanged: bool = False) -> None:
        """`unchanged`: reading raises StorageError once the object is another version than `item`."""
        self._storage = storage
        self._item = item
        self._version = item.version if unchanged else ""
        self._position = 0
        self._lent = threading.local()

    def lend(self, start: int, content: bytes) -> None:
        """The bytes from `start`, for reads by this thread; no bytes take back what was lent."""
        self._lent.range = (start, content)

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See RawIOBase."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See RawIOBase."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._item.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """See RawIOBase."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """See RawIOBase."""
        length = max(0, min(len(buffer), self._item.size - self._position))
        start, lent = getattr(self._lent, "range", (0, b""))
        if start <= self._position and self._position + length <= start + len(lent):
            content = lent[self._position - start :][:length]
        elif length:
            content = self._storage.read_range(self._item.key, self._position, length, self._version)
        else:
            content = b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
