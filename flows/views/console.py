"""What is printed in the terminal: by a way that cannot fail, whatever paths and labels hold."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def tolerate_encodings() -> None:
    """For the rest of this process, show what the terminal's encoding does not have as escapes, such as `\\xe9`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Where to print: text is text, whatever brackets it has."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False)
