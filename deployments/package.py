"""Builds the archive that jobs on EMR run in: an interpreter, the project, and the worker's locked dependencies.

    python -m deployments.package [--interpreter auto|standalone|copy] [--python 3.11] [--output dist/emr]

It runs from any folder, so it can be unpacked by Spark (spark.archives) or by a bootstrap action.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deployments.interpreter import copy_installed, install_standalone, least_glibc
from engines.core.errors import FruitsError, InputError, StageError
from engines.emr.archive import Manifest, code_digest, newer_glibc
from engines.emr.settings import WORKERS_GLIBC

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 200_000_000

_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}

# Left out of the dependencies; the check after packing runs what is left.
_UNUSED = (
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # workers compute on the CPU
    "ai_edge_litert/vendors",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/libarrow_flight.so*",
    "pyarrow/_flight*.so",
    "pyarrow/_substrait*.so",
    "numpy/_core/include",
    "numpy/_core/lib",
    "bin",
)
_BOTOCORE_SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
"""What finding credentials and S3 need; the other 400 services are three quarters of botocore."""

_CHECK = """
import io, ssl, sys
import boto3, numpy, obstore, pyarrow.parquet, PIL.Image, threadpoolctl
from ai_edge_litert.interpreter import Interpreter
import engines.map_engine
from engines.core import sample_photos, storage, tables
from engines.core.networks import images
from engines.core.reduce import pca
from engines.core.stages import featurize
pixels = images.decode(sample_photos.encode_photo(0, 0, 0, 0))
table = tables.from_parquet(tables.to_parquet(pyarrow.table({"rows": [int(pixels.sum())]})))
assert table.num_rows == 1
boto3.Session(region_name="us-east-1").client("s3")
boto3.Session(region_name="us-east-1").client("sts")
outside = [path for path in sys.path if path and not path.startswith(sys.prefix)]
assert not outside, outside
print("runs from", sys.prefix)
"""

_FACTS = """
import json, platform
from engines.core.networks.model import library_versions
print(json.dumps([platform.python_version(), library_versions("litert")]))
"""


def build(minor: str, interpreter: str, output: Path) -> tuple[Path, Manifest]:
    """Build the archive and its manifest into `output`. Raises FruitsError with what to do."""
    architecture = _architecture()
    with tempfile.TemporaryDirectory(prefix="fruit-features-package-") as scratch:
        tree = Path(scratch, "environment")
        origin = _put_interpreter(minor, interpreter, tree)
        requirements = _export(Path(scratch, "requirements.txt"))
        python = tree / "bin" / f"python{minor}"
        _run("uv", "pip", "install", "--python", str(python), "--require-hashes", "-r", str(requirements), *_INSTALL)
        _run("uv", "build", "--wheel", "--quiet", "--out-dir", scratch, str(ROOT))
        (wheel,) = Path(scratch).glob("*.whl")
        _run("uv", "pip", "install", "--python", str(python), "--no-deps", str(wheel), *_INSTALL)
        _prune(tree / "lib" / f"python{minor}" / "site-packages")
        _forget_origin(tree)
        _compile(tree, python)
        version = wheel.name.split("-", maxsplit=2)[1]
        lock = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
        archive = Path(scratch, "archive.tar.gz")
        _pack(tree, archive)
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        name = f"fruit-features-{version}-py{minor}-{architecture}-lock{lock}-{sha256[:12]}"
        size = archive.stat().st_size
        if size > MAX_BYTES:
            raise StageError(f"the archive has {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}", "See _UNUSED.")
        _check(archive, minor)
        python_version, libraries = json.loads(_run(str(python), "-I", "-B", "-c", _FACTS))
        manifest = Manifest(
            name=name,
            version=version,
            python=python_version,
            architecture=architecture,
            glibc=least_glibc(tree),
            interpreter=origin,
            lock=lock,
            code=code_digest(),
            sha256=sha256,
            size=size,
            libraries=libraries,
        )
        output.mkdir(parents=True, exist_ok=True)
        place = output / f"{name}.tar.gz"
        shutil.move(archive, place)
        place.with_name(f"{name}.json").write_bytes(manifest.dump())
        return place, manifest


def _architecture() -> str:
    """What EMR calls this machine's processor. Raises InputError where the archive could not run on EMR's Linux."""
    machine = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or machine is None:
        raise InputError(
            f"an archive that is built on {platform.system()} ({platform.machine()}) does not run on EMR",
            "Build it on Linux with glibc, on a processor like the workers': x86-64, or ARM for Graviton.",
        )
    return machine


_INSTALL = ("--quiet", "--link-mode", "copy", "--no-compile-bytecode", "--strict")


def _put_interpreter(minor: str, interpreter: str, tree: Path) -> str:
    if interpreter in ("auto", "standalone"):
        try:
            return install_standalone(minor, tree)
        except InputError as error:
            if interpreter == "standalone":
                raise
            _say(f"{error.message}; copying the installed one instead")
    return copy_installed(minor, tree)


def _export(path: Path) -> Path:
    """The worker's dependencies as uv.lock has them, with hashes."""
    extras = ("--extra", "worker", "--extra", "s3")
    only = ("--frozen", "--no-default-groups", "--no-emit-project", "--no-header", "--no-annotate")
    _run("uv", "export", "--quiet", "--project", str(ROOT), *only, *extras, "--output-file", str(path))
    return path


def _prune(packages: Path) -> None:
    for pattern in _UNUSED:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.is_dir() and path.name in ("tests", "testing", "__pycache__") and path.parent.name != "numpy":
            shutil.rmtree(path)
        elif path.suffix in (".pyx", ".pxd", ".pyi", ".a", ".lib", ".h", ".hpp"):
            path.unlink()
    for path in (packages / "botocore" / "data").iterdir():
        if path.is_dir() and path.name not in _BOTOCORE_SERVICES:
            shutil.rmtree(path)


def _forget_origin(tree: Path) -> None:
    """Remove what names the folder this was built in, and would not work elsewhere: equal sources, equal archives."""
    for script in (tree / "bin").iterdir():
        if not script.name.startswith("python"):
            script.unlink()
    for name in ("direct_url.json", "uv_cache.json", "RECORD"):
        for path in tree.glob(f"lib/python*/site-packages/*.dist-info/{name}"):
            path.unlink()


def _compile(tree: Path, python: Path) -> None:
    """Bytecode for all of it: every worker of every job starts in a folder of its own, and would compile it anew."""
    # Checked against nothing, as the archive never changes; without the name of this folder.
    options = ("-f", "--invalidation-mode", "unchecked-hash", "-s", str(tree))
    _run(str(python), "-I", "-B", "-m", "compileall", "-q", *options, str(tree / "lib"))


def _pack(tree: Path, archive: Path) -> None:
    """A tar of the tree's content. Equal trees give equal bytes: names sorted, no times, no owners.

    Everybody may read it, whatever the umask here: on a cluster the user who unpacks it is not the one who runs it.
    """

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in _walk(tree):
            tar.add(path, arcname=str(path.relative_to(tree)), recursive=False, filter=plain)


def _walk(tree: Path) -> Iterator[Path]:
    yield from sorted(tree.rglob("*"))


def _check(archive: Path, minor: str) -> None:
    """Unpack the archive into an empty folder and use what a worker uses, with no environment at all."""
    with tempfile.TemporaryDirectory(prefix="fruit-features-check-") as folder:
        _run("tar", "-xzf", str(archive), "-C", folder)
        _say(_run("env", "-i", f"{folder}/bin/python", "-I", "-B", "-c", _CHECK, cwd=folder).strip())
        found = _run(
            "env", "-i", f"{folder}/bin/python", "-c", "import sys; print(*sys.version_info[:2], sep='.')"
        ).strip()
        if found != minor:
            raise StageError(f"the archive has Python {found}, not {minor}", "")


def _run(*command: str, cwd: str | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    except OSError as error:
        raise StageError(
            f"`{command[0]}` cannot be run: {error.strerror}", "Start this by `make emr-package`."
        ) from error
    if done.returncode != 0:
        raise StageError(f"`{' '.join(command[:4])} ...` failed (exit {done.returncode})", done.stderr[-3000:])
    return done.stdout


def glibc_warning(manifest: Manifest) -> str:
    """What to say of an archive that needs a later C library than EMR's image has; "" for one that does not."""
    if not newer_glibc(manifest.glibc, WORKERS_GLIBC):
        return ""
    return (
        f"warning: EMR's image has glibc {WORKERS_GLIBC}, so the preflight refuses this archive. Build it where uv "
        "can download its standalone interpreter, or on Amazon Linux 2023; or use a custom image with a later glibc, "
        f'and set glibc = "{manifest.glibc}" in the [emr] table.'
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a command line


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deployments.package", description="Build the archive for EMR.")
    parser.add_argument("--python", default="3.11", help="minor version of the interpreter (default: %(default)s)")
    parser.add_argument("--interpreter", choices=("auto", "standalone", "copy"), default="auto")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "emr")
    arguments = parser.parse_args()
    try:
        archive, manifest = build(arguments.python, arguments.interpreter, arguments.output)
    except FruitsError as error:
        _say(f"error: {error}")
        return 1
    _say(f"interpreter: {manifest.interpreter} ({manifest.python}), needs glibc {manifest.glibc}")
    if warning := glibc_warning(manifest):
        _say(warning)
    print(f"{archive}  {manifest.size / 1e6:.1f} MB")  # noqa: T201 - a command line
    return 0


if __name__ == "__main__":
    sys.exit(main())
