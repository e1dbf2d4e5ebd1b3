"""Machines as people have them: containers with a quota, users without a name or a home, few files, odd encodings."""

from __future__ import annotations

import operator
import os
import pwd
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engines.core.errors import InputError
from engines.core.networks.prepare import check_weights_file
from engines.dask.engine import DaskEngine
from engines.machine import cpu_quota, usable_cores
from flows.checks import cache_folder
from flows.home import give_home, temporary_folder
from tests.command_line import CommandLine


def groups(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return folder


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),  # version 2, in a container
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2.0),  # a parent's is less
        ("0::/../../hidden", {"cpu.max": "100000 100000"}, 1.0),
        ("4:cpu,x:/\n0::/", {"cpu,x/cpu.cfs_quota_us": "50000", "cpu,x/cpu.cfs_period_us": "100000"}, 0.5),  # version 1
        ("4:cpu:/x\n2:memory:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        # A container that does not see the group that its host names.
        ("4:cpu:/docker/1", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
    ],
)  # fmt: skip
def test_a_quota_is_that_of_the_control_groups(
    tmp_path: Path, own: str, files: dict[str, str], cores: float | None
) -> None:
    (tmp_path / "own").write_text(own + "\n")
    assert cpu_quota(tmp_path / "own", groups(tmp_path / "mounted", files)) == cores


def test_where_there_are_no_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(0.2, 1), (1.0, 1), (1.5, 2), (64.0, 3), (None, 3)])
def test_a_quota_is_as_many_workers(quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.machine.cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert usable_cores() == cores


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This user has no home, and the system does not know the user; the folder that temporary ones are in."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "FRUITS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_there_is_a_temporary_one_with_a_notice(
    nameless: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "")  # so that what is set is taken back
    monkeypatch.delenv("HOME")
    give_home()
    home = Path(os.environ["HOME"])
    assert home.parent == nameless
    assert f"note: HOME is not set, and this user has none: {home} is used" in capsys.readouterr().err
    assert home in cache_folder().parents


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])  # not writable, for root neither
def test_a_home_that_cannot_be_written_has_the_models_in_a_temporary_folder_with_a_notice(
    home: str, nameless: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", home)
    folder = cache_folder()
    assert folder.parent == nameless
    assert f"converted models are kept in {folder}" in caplog.text
    assert home in caplog.text
    assert "set HOME or FRUITS_CACHE" in caplog.text


def test_a_named_cache_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_CACHE", "/dev/null/cache")
    with pytest.raises(InputError, match="FRUITS_CACHE=/dev/null/cache cannot be used"):
        cache_folder()


def test_a_temporary_folder_that_others_can_write_is_not_used(nameless: Path) -> None:
    first = temporary_folder()
    assert temporary_folder() == first
    assert first.stat().st_mode & 0o077 == 0
    first.chmod(0o777)
    assert temporary_folder() != first


def test_spark_says_at_once_that_it_needs_a_user_with_a_name(nameless: Path) -> None:
    from engines.spark.engine import SparkEngine

    with pytest.raises(InputError, match=f"the system knows none of the number {os.getuid()}") as error:
        SparkEngine()
    assert "/etc/passwd" in error.value.hint


_FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from engines.core.errors import FruitsError
try:
    if sys.argv[2] == "spark":
        from engines.spark.engine import SparkEngine
        SparkEngine()
    else:
        from engines.dask.launch import LocalClusterProcess
        LocalClusterProcess(1).address
except FruitsError as error:
    print(type(error).__name__, error.message)
"""


@pytest.mark.parametrize(
    ("engine", "files", "said"),
    [
        ("spark", 256, "InputError Spark needs some 400 open files, and a process here may have 256"),
        ("dask", 24, "StageError the local Dask cluster does not start: "),
    ],
)
def test_few_open_files_are_one_line_with_the_cause(engine: str, files: int, said: str) -> None:
    command = [sys.executable, "-c", _FEW_FILES, str(files), engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith(said), done.stderr
    assert "Too many open files" in done.stdout or engine == "spark"
    assert len(done.stdout.splitlines()) == 1


def test_a_machine_without_shared_memory_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing.synchronize

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(multiprocessing.synchronize, "Semaphore", refused)
    with pytest.raises(InputError, match="Read-only file system") as error:
        DaskEngine()
    assert "/dev/shm" in error.value.hint  # noqa: S108 - the name in the message


@pytest.mark.parametrize("name", ["tmp", "t" * 100])
def test_a_dask_cluster_has_its_files_in_tmpdir_however_long_its_name_and_leaves_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket of the server that workers are forked from may have no long name: then they are started anew."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with DaskEngine(workers=1) as engine:
        assert list(engine.map(operator.add, [1], engine.broadcast(1))) == [(0, 2)]
        assert [path.name[:15] for path in folder.iterdir()] == ["fruits-scratch-"]
    assert list(folder.iterdir()) == []


def test_what_the_terminal_cannot_show_is_escaped_and_brackets_are_no_markup(
    tmp_path: Path, plain_fruits: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    folder = tmp_path / "é[/]p"
    made = plain_fruits("sample", folder, "--images", "2", "--classes", "1")
    assert (made.code, made.printed) == (0, f"2 photos of 1 classes in {tmp_path}/\\xe9[/]p")
    plain_fruits("show", folder).assert_refused(f"{tmp_path}/\\xe9[/]p has no published results", "Run `fruits run")


def test_a_keras_archive_is_known_by_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"")
    assert check_weights_file(str(path)) == "weights.keras"
    for content in (b"", b"no archive", path.read_bytes().replace(b"model", b"other")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a Keras archive") as error:
            check_weights_file(str(path))
        assert "save(FILE.keras)" in error.value.hint
