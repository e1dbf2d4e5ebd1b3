"""How a process ended, in words."""

from __future__ import annotations

import signal


def ending(code: int) -> str:
    """What a return code of `subprocess` says: `exit code 3`, or a signal's name such as `SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"
