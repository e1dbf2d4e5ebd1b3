"""The publication that is served: the newest that could be loaded, exchanged as a whole while the server goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from engines.core.errors import FruitsError
from engines.core.layout import RECORD, REPORT
from engines.core.storage import open_storage
from flows.serving.collection import Published

_LOGGER = logging.getLogger("fruits.serve")

_AGAIN_SECONDS = 60.0
"""Until what could not be loaded is tried again though it has not changed."""

Seen = tuple[str | None, ...]


class Current:
    """One output as it is published now. Everything may be called from several threads at once.

    A run replaces run.json last, and a check the report: where the storage's version of neither has changed, nothing
    was published. So a look costs two small requests, however large the output.
    """

    def __init__(self, output: str, load: Callable[[], Published]) -> None:
        """`load` reads what is published at `output`; raises as it does."""
        self._output, self._load = output, load
        self._seen = self._versions()  # before it is read: what is published meanwhile is seen by the next look
        self.published = load()
        """What answers are from. A request takes it once, so that it is from one publication throughout."""
        self._former: Published | None = None
        self.outdated = False
        """Whether something else is there by now that cannot be loaded, or it is not known whether there is."""
        self._failed: Seen | None = None
        self._again = 0.0
        self._said = ""

    def look(self) -> bool:
        """Load what was published since the last look, if anything was, and serve it from now on; whether it is.

        What cannot be loaded is said in the log, and tried again when it changes, or in a minute: until then, what was
        served before is.
        """
        try:
            seen = self._versions()
            if seen == self._seen or (seen == self._failed and time.monotonic() < self._again):
                return False
            self._failed, self._again = seen, time.monotonic() + _AGAIN_SECONDS
            published = self._load()
        except FruitsError as error:
            self.outdated = True
            self._say(f"version {self.published.version} is still served, as what is there now cannot be: {error}")
            return False
        self._seen, self._failed, self.outdated = seen, None, False
        if published.version == self.published.version:
            return False
        self._former, self.published = self.published, published
        self._say(f"{self._output} was published anew: {len(published):,} photos, version {published.version}")
        return True

    def of_version(self, version: str) -> Published | None:
        """The publication of this version, while it is served or is the one before; None for any other."""
        return next((each for each in (self.published, self._former) if each and each.version == version), None)

    async def watch(self, seconds: float) -> None:
        """Look again and again, so many seconds apart, until this is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _LOGGER.exception("a newer publication of %s could not be looked for", self._output)

    def _say(self, text: str) -> None:
        if text != self._said:
            _LOGGER.warning("%s", text)
        self._said = text

    def _versions(self) -> Seen:
        storage = open_storage(self._output)
        found = [storage.stat(key) for key in (RECORD, REPORT)]
        return tuple(None if item is None else item.version for item in found)
