"""Builds the archive that jobs on EMR run in: the project and the worker's locked dependencies, for a named processor.

    python -m deployments.package [--architecture x86_64|arm64] [--interpreter release|standalone] [--python 3.11]

On any machine: wheels are chosen for the workers' platform, and nothing of the machine that builds is copied. The
archive runs from any folder, so it can be unpacked by Spark (spark.archives) or by a bootstrap action.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from deployments.interpreter import install_standalone, of_this_machine, runs_here, use_release
from deployments.shared_objects import check_objects
from engines.core.errors import FruitsError, StageError
from engines.core.networks.model import library_versions
from engines.emr.archive import Manifest, code_digest
from engines.emr.settings import ARCHITECTURES, WORKERS_GLIBC

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 200_000_000
INTERPRETERS = ("release", "standalone")

PLATFORMS = {
    architecture: f"{machine}-manylinux_{WORKERS_GLIBC.replace('.', '_')}"
    for architecture, machine in {"x86_64": "x86_64", "arm64": "aarch64"}.items()
}
"""The workers' platforms, as uv names them: Amazon Linux 2023."""

# Left out of the dependencies; the check after packing runs what is left.
_UNUSED = (
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # workers compute on the CPU
    "ai_edge_litert/vendors",
    "ai_edge_litert/tools",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/libarrow*_flight.so*",
    "pyarrow/libarrow_flight.so*",
    "pyarrow/_flight*.so",
    "pyarrow/_substrait*.so",
    "numpy/_core/include",
    "numpy/_core/lib",
    "bin",
    ".lock",
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
pixels = images.decode(sample_photos.encode_photo(0, 0, 0, 0), 224)
table = tables.from_parquet(tables.to_parquet(pyarrow.table({"rows": [int(pixels.sum())]})))
assert table.num_rows == 1
boto3.Session(region_name="us-east-1").client("s3")
boto3.Session(region_name="us-east-1").client("sts")
outside = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix + "/lib"))]
assert not outside, outside
print("runs from", sys.prefix)
"""


def build(minor: str, interpreter: str, output: Path, architecture: str) -> tuple[Path, Manifest]:
    """Build the archive for `architecture` and its manifest into `output`. Raises FruitsError with what to do."""
    with tempfile.TemporaryDirectory(prefix="fruit-features-package-") as scratch:
        tree = Path(scratch, "environment")
        if interpreter == "release":
            origin, python_version = use_release(minor, tree)
        else:
            origin, python_version = install_standalone(minor, architecture, tree)
        packages = tree / "lib" / f"python{minor}" / "site-packages"
        requirements = _export(Path(scratch, "requirements.txt"))
        _install(packages, minor, architecture, "--require-hashes", "-r", str(requirements))
        _run("uv", "build", "--wheel", "--quiet", "--out-dir", scratch, str(ROOT))
        (wheel,) = Path(scratch).glob("*.whl")
        _install(packages, minor, architecture, "--no-deps", str(wheel))
        _prune(packages)
        _forget_origin(tree)
        glibc = check_objects(tree, architecture)
        _compile(tree, minor)
        version = wheel.name.split("-", maxsplit=2)[1]
        lock = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
        archive = Path(scratch, "archive.tar.gz")
        _pack(tree, archive)
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        name = f"fruit-features-{version}-py{minor}-{architecture}-lock{lock}-{sha256[:12]}"
        size = archive.stat().st_size
        if size > MAX_BYTES:
            raise StageError(f"the archive has {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}", "See _UNUSED.")
        _check(archive, minor, architecture)
        manifest = Manifest(
            name=name,
            version=version,
            python=python_version,
            architecture=architecture,
            glibc=glibc,
            interpreter=origin,
            lock=lock,
            code=code_digest(),
            sha256=sha256,
            size=size,
            libraries=_libraries(packages),
        )
        output.mkdir(parents=True, exist_ok=True)
        place = output / f"{name}.tar.gz"
        shutil.move(archive, place)
        place.with_name(f"{name}.json").write_bytes(manifest.dump())
        return place, manifest


def _install(packages: Path, minor: str, architecture: str, *what: str) -> None:
    """Put wheels for the workers' platform into `packages`. What has no such wheel is refused, never built here."""
    platform = ("--python-platform", PLATFORMS[architecture], "--python-version", minor, "--only-binary", ":all:")
    options = ("--quiet", "--link-mode", "copy", "--no-compile-bytecode", "--target", str(packages))
    _run("uv", "pip", "install", *platform, *options, *what)


def _libraries(packages: Path) -> dict[str, str]:
    """The versions in `packages` of what decides about the features."""
    present = {found.name.lower(): found.version for found in distributions(path=[str(packages)])}
    return {name: present[name] for name in library_versions("litert")}


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


def _compile(tree: Path, minor: str) -> None:
    """Bytecode for all of it: every worker of every job starts in a folder of its own, and would compile it anew."""
    python = of_this_machine(minor)
    if python is None:
        _say(f"there is no Python {minor} here to compile the archive: its workers will, and start seconds later")
        return
    # Checked against nothing, as the archive never changes; without the name of this folder.
    options = ("-f", "--invalidation-mode", "unchecked-hash", "-s", str(tree))
    _run(python, "-I", "-B", "-m", "compileall", "-q", *options, str(tree / "lib"))


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


def _check(archive: Path, minor: str, architecture: str) -> None:
    """Where the archive runs on this machine: unpack it into an empty folder and use what a worker uses."""
    with tempfile.TemporaryDirectory(prefix="fruit-features-check-") as folder:
        _run("tar", "-xzf", str(archive), "-C", folder)
        if not runs_here(Path(folder), architecture):
            _say(f"for {architecture}: checked by its ELF headers, as it does not run on this machine")
            return
        python = ("env", "-i", f"{folder}/bin/python", "-I", "-B", "-c")
        _say(_run(*python, _CHECK, cwd=folder).strip())
        found = _run(*python, "import sys; print(*sys.version_info[:2], sep='.')").strip()
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


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a command line


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deployments.package", description="Build the archive for EMR.")
    parser.add_argument("--python", default="3.11", help="minor version of the interpreter (default: %(default)s)")
    parser.add_argument(
        "--architecture", choices=ARCHITECTURES, default=ARCHITECTURES[0], help="of the workers (default: %(default)s)"
    )
    parser.add_argument(
        "--interpreter",
        choices=INTERPRETERS,
        default=INTERPRETERS[0],
        help="the Python that EMR's image has, or a standalone one that uv downloads (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "emr")
    arguments = parser.parse_args()
    try:
        archive, manifest = build(arguments.python, arguments.interpreter, arguments.output, arguments.architecture)
    except FruitsError as error:
        _say(f"error: {error}")
        return 1
    _say(f"interpreter: {manifest.interpreter} ({manifest.python}), needs glibc {manifest.glibc}")
    print(f"{archive}  {manifest.size / 1e6:.1f} MB")  # noqa: T201 - a command line
    return 0


if __name__ == "__main__":
    sys.exit(main())
