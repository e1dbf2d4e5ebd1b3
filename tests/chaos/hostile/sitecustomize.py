"""Python imports this first where its folder is on PYTHONPATH: there, photos do what their last bytes say.

No photo is known that crashes Pillow. This stands in for one, in every process that decodes.
"""

import os
import signal
import time

import numpy as np

from engines.core.networks import images

_decode = images.decode


def _do(content: bytes) -> None:
    if content.endswith(b"HOSTILE: crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
    if content.endswith(b"HOSTILE: hang"):
        while True:
            time.sleep(60)
    if content.endswith(b"HOSTILE: eat"):
        held = np.empty(2_000_000_000, np.uint8)
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when there is no memory left
        time.sleep(60)
        del held


def _decode_hostile(content: bytes, *rest: object) -> object:
    _do(content)
    return _decode(content, *rest)


images.decode = _decode_hostile
