"""Python imports this first where its folder is on PYTHONPATH: processes of a run then come to harm where a test says.

- A photo does what its last bytes say, wherever it is decoded: no photo is known that crashes Pillow.
- FRUITS_CHAOS_FILE names a file of JSON. Its `trace` names a file that gets a line for each step of the storage: the
  role of the process, the step, the key. Roles: `driver`, the process that FRUITS_CHAOS_DRIVER is new to; `worker`.
- Its `plan`: at the step `number` (from 0) of those that `role` takes and `pattern` matches, the `victim` is killed,
  once in all: `itself`; the `executor`, the JVM whose Python worker it is; the `machine`, which is all that would start
  it again; or the `leader`, the process that the driver started to lead the workers. The file `once` says that it was.
  Where the victim is the `output`, a `command` is run. Its `start_seconds`: so long workers take to start once somebody
  was killed.
- Its `retry_seconds`: so long a request to S3 is repeated.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from engines.core.networks import images
from engines.core.storage import aws, folder

_decode = images.decode


def _harm(content: bytes) -> None:
    if content.endswith(b"HOSTILE: crash"):
        _kill(os.getpid(), number=signal.SIGSEGV)
    if content.endswith(b"HOSTILE: hang"):
        while True:
            time.sleep(60)
    if content.endswith(b"HOSTILE: eat"):
        held = np.empty(2_000_000_000, np.uint8)
        _kill(os.getpid())  # as the kernel does when there is no memory left
        del held


def _decode_hostile(content: bytes, *rest: object, **named: object) -> object:
    _harm(content)
    return _decode(content, *rest, **named)


images.decode = _decode_hostile


def _kill(*processes: int, number: signal.Signals = signal.SIGKILL) -> None:
    for process in processes:
        os.kill(process, number)
    time.sleep(600)  # where it is another one, it takes this one with it


def _read_orders() -> dict[str, Any]:
    name = os.environ.get("FRUITS_CHAOS_FILE")
    return json.loads(Path(name).read_text()) if name else {}


_orders = _read_orders()
_role = "worker"
_steps = 0
if os.environ.get("FRUITS_CHAOS_DRIVER") == "new":
    os.environ["FRUITS_CHAOS_DRIVER"] = "known"
    _role = "driver"
    if _orders:
        Path(_orders["driver"]).write_text(str(os.getpid()))
elif "start_seconds" in (_orders.get("plan") or {}) and os.path.exists(_orders["once"]):
    time.sleep(_orders["plan"]["start_seconds"])


if _orders.get("retry_seconds"):
    aws.RETRY_SECONDS = _orders["retry_seconds"]


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _executor() -> int:
    """The JVM: it started pyspark's daemon, which is this process's parent."""
    return _parent(os.getppid())


def _machine() -> list[int]:
    """Spark's worker and its executor, or Dask's nanny; and this process."""
    if b"java" in Path(f"/proc/{_executor()}/cmdline").read_bytes():
        return [_parent(_executor()), _executor(), os.getpid()]
    return [os.getppid(), os.getpid()]


def _leader() -> int:
    driver = int(Path(_orders["driver"]).read_text())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = _parent(int(process.name))
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if parent == driver and (b"java" in command or b"engines.dask" in command):
            return int(process.name)
    raise LookupError("nobody leads the workers")


def _step(name: str, key: str) -> None:
    global _orders, _steps  # noqa: PLW0603 - the run that this process takes part in, and a counter
    if (orders := _read_orders()) != _orders:  # a worker may outlive a run
        _orders, _steps = orders, 0
    if _orders:
        with open(_orders["trace"], "a") as file:
            file.write(f"{_role} {name} {key}\n")
    plan = _orders.get("plan")
    if plan and plan["role"] == _role and re.search(plan["pattern"], f"{name} {key}"):
        if _steps == plan["number"]:
            try:
                os.close(os.open(_orders["once"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            if plan["victim"] == "output":
                subprocess.run(plan["command"], check=True)
            else:
                _kill(*_VICTIMS[plan["victim"]]())
        _steps += 1


_VICTIMS = {
    "itself": lambda: [os.getpid()],
    "executor": lambda: [_executor()],
    "machine": _machine,
    "leader": lambda: [_leader()],
}


def _stepping(name: str) -> None:
    method = getattr(folder.FolderStorage, name)

    def stepped(self: folder.FolderStorage, key: str = "", *rest: object, **named: object) -> object:
        _step(name, key)
        return method(self, key, *rest, **named)

    setattr(folder.FolderStorage, name, stepped)


for _name in ("read", "write", "open", "exists", "list"):
    _stepping(_name)

_replace = os.replace


def _replace_stepped(source: str, target: str) -> None:
    """Between the last byte of an unfinished file and its name."""
    if ".unfinished-" in str(source):
        _step("replace", os.path.basename(target))
    _replace(source, target)


folder.os.replace = _replace_stepped
