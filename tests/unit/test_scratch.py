"""Scratch folders: nothing stays of them, whoever was killed, and nothing else is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engines.core import scratch
from engines.core.scratch import scratch_folder

HOLDER = """
import sys, time
from engines.core.scratch import scratch_folder

with scratch_folder("mine-", sys.argv[1]) as folder:
    open(folder + "/file", "w").close()
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path) -> subprocess.Popen[str]:
    """A process that holds a scratch folder, whose path it has printed, until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(parent)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_scratch_folder_is_gone_with_its_context(tmp_path: Path) -> None:
    with scratch_folder("mine-", str(tmp_path)) as folder:
        Path(folder, "file").touch()
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_stays_and_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        with scratch_folder("mine-", str(tmp_path)):
            assert (held / "file").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(tmp_path.iterdir()) == [held]
    with scratch_folder("mine-", str(tmp_path)) as folder:
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    parent = tmp_path / "parent"
    for name in ("mine-longer-than-that", "other-abcdefgh", "mine-readable"):
        (parent / name).mkdir(0o700, parents=True)
    (parent / "mine-readable").rename(parent / "mine-abcd1234")
    (parent / "mine-abcd1234").chmod(0o755)
    (parent / "mine-abcdefgh").symlink_to(elsewhere)
    (parent / "mine-file1234").touch(0o700)
    before = sorted(tmp_path.rglob("*"))
    with scratch_folder("mine-", str(parent)):
        pass
    assert sorted(tmp_path.rglob("*")) == before

    (parent / "mine-a_user_s").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with scratch_folder("mine-", str(parent)):
        pass
    assert (parent / "mine-a_user_s").is_dir()


@pytest.mark.parametrize("removed", ["before its lock", "after its lock"])
def test_one_that_is_removed_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    lock, first = scratch._locked, []

    def swept(folder: str) -> int:
        if first:
            return lock(folder)
        first.append(folder)
        if removed == "before its lock":
            os.rmdir(folder)
            return lock(folder)
        descriptor = lock(folder)
        os.unlink(f"{folder}/.held")
        os.rmdir(folder)
        return descriptor

    monkeypatch.setattr(scratch, "_locked", swept)
    with scratch_folder("mine-", str(tmp_path)) as folder:
        assert folder != first[0]
        assert list(tmp_path.iterdir()) == [Path(folder)]


def test_without_locks_nobody_is_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError("no locks")

    monkeypatch.setattr("engines.core.scratch.fcntl.flock", none)
    with scratch_folder("mine-", str(tmp_path)) as first, scratch_folder("mine-", str(tmp_path)):
        assert Path(first).is_dir()
    assert list(tmp_path.iterdir()) == []
