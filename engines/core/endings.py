"""How processes end: in words, and with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
import time

_LOOK_SECONDS = 1.0


def ending(code: int) -> str:
    """What a return code of `subprocess` says: `exit code 3`, or a signal's name such as `SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def end_with(parent: int) -> None:
    """From now on this process ends when `parent`, the process that started it, has ended, however that was."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
