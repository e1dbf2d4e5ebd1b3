"""Decodes files one after the other and prints a line of JSON for each; ended by the system if one takes too long."""

from __future__ import annotations

import faulthandler
import json
import sys
from pathlib import Path

from tests.decode_memory import measure

_STALLED = 60.0
"""Seconds after which a decode is taken for one that never returns: the process prints where it is, and ends."""

for file in sys.argv[1:]:
    faulthandler.dump_traceback_later(_STALLED, exit=True)
    try:
        answer = measure(Path(file).read_bytes())
    except Exception as error:
        answer = {"outcome": f"error {type(error).__name__}: {error}", "growth": 0, "seconds": 0}
    print(json.dumps(answer), flush=True)
