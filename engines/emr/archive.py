"""What jobs run from, on S3: the archive with the interpreter, and the entry point.

`ARTIFACTS/archives/NAME.tar.gz` and `ARTIFACTS/entry/*` never change; `ARTIFACTS/current-ARCHITECTURE.json` names the
ones that new jobs use.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from engines.core.errors import InputError
from engines.emr.calls import MISSING, Aws, AwsCallError, refused, split_s3
from engines.emr.settings import SETTINGS_OUTPUT, EmrSettings

RELEASE_INTERPRETER = "the Python of EMR's image"
"""What the manifest of an archive without an interpreter of its own says."""

_PUSH = "Build it with `make emr-package` and upload it with `fruits emr push`."


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts about an archive, written beside it when it is built.

    `lock`: digest of the locked requirements. `code`: digest of the engines. `glibc`: the oldest C library it runs on.
    `interpreter`: where its Python comes from. `libraries`: versions of the packages that decide about the features.
    """

    name: str
    version: str
    python: str
    architecture: str
    glibc: str
    interpreter: str
    lock: str
    code: str
    sha256: str
    size: int
    libraries: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, content: bytes | str) -> Manifest:
        """The inverse of `dump`."""
        plain = json.loads(content)
        plain.setdefault("libraries", {})  # of an archive from before they were noted
        return cls(**{name.name: plain[name.name] for name in fields(cls)})

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), indent=1).encode()


@dataclass(frozen=True, slots=True)
class Published:
    """What `fruits emr push` made current: the URLs of archive, entry point and bootstrap script."""

    url: str
    entry_point: str
    bootstrap: str
    manifest: Manifest


class Artifacts:
    """The archive and entry point below `settings.artifacts`."""

    def __init__(self, settings: EmrSettings, aws: Aws) -> None:
        self._settings = settings
        self._aws = aws
        self._current: Published | None = None

    def current(self) -> Published:
        """What new jobs use. Raises InputError if nothing was pushed, or the archive is gone."""
        if self._current is None:
            self._current = self._read_current()
        return self._current

    def _read_current(self) -> Published:
        pointer = f"{self._prefix()}/current-{self._settings.architecture}.json"
        bucket, key = split_s3(pointer)
        try:
            plain = json.loads(self._aws.call("s3", "get_object", Bucket=bucket, Key=key)["Body"])
            manifest = Manifest.load(json.dumps(plain["manifest"]))
            published = Published(plain["url"], plain["entry_point"], plain["bootstrap"], manifest)
            for url in (published.url, published.entry_point, published.bootstrap):
                pointer = url
                bucket, key = split_s3(url)
                head = self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
                if url == published.url and head["ContentLength"] != manifest.size:
                    raise InputError(f"the archive {url} is not the one that was pushed: its size differs", _PUSH)
        except AwsCallError as error:
            if error.code in MISSING:
                raise InputError(
                    f"{pointer} is missing: no archive for {self._settings.architecture} was pushed there", _PUSH
                ) from error
            raise refused(
                error, f"{pointer} cannot be read", "Check artifacts, and your permission to read it."
            ) from error
        return published

    def push(self, archive: Path) -> list[str]:
        """Upload `archive`, the entry point and the bootstrap script if they are missing there, and make them current.

        Returns the URLs that were uploaded. Raises InputError if the archive has no manifest or does not match it.
        """
        manifest = read_manifest(archive)
        folder = self._prefix()
        url = f"{folder}/archives/{archive.name}"
        entry, bootstrap = entry_point_source(), bootstrap_source()
        entry_url = f"{folder}/entry/job_driver-{_digest(entry)[:16]}.py"
        bootstrap_url = f"{folder}/entry/bootstrap-{_digest(bootstrap)[:16]}.sh"
        uploaded = []
        if not self._is_there(url, manifest.size):
            self._put(url, archive.read_bytes())
            uploaded.append(url)
        for place, content in ((entry_url, entry), (bootstrap_url, bootstrap)):
            if not self._is_there(place, len(content)):
                self._put(place, content)
                uploaded.append(place)
        pointer = {"url": url, "entry_point": entry_url, "bootstrap": bootstrap_url, "manifest": asdict(manifest)}
        # Written last: until then jobs use the previous archive.
        self._put(f"{folder}/current-{manifest.architecture}.json", json.dumps(pointer, indent=1).encode())
        self._current = None
        return uploaded

    def _prefix(self) -> str:
        if not self._settings.artifacts:
            raise InputError(
                "no place for the archive was given",
                f"Set artifacts in the [emr] table: {SETTINGS_OUTPUT}.",
            )
        return self._settings.artifacts

    def _is_there(self, url: str, size: int) -> bool:
        bucket, key = split_s3(url)
        try:
            return bool(self._aws.call("s3", "head_object", Bucket=bucket, Key=key)["ContentLength"] == size)
        except AwsCallError as error:
            if error.code in MISSING:
                return False
            raise refused(
                error, f"{url} cannot be looked up", "Check artifacts, and your permissions there."
            ) from error

    def _put(self, url: str, content: bytes) -> None:
        bucket, key = split_s3(url)
        try:
            self._aws.call("s3", "put_object", Bucket=bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256")
        except AwsCallError as error:
            raise refused(error, f"{url} cannot be written", "Check artifacts, and your permissions there.") from error


def read_manifest(archive: Path) -> Manifest:
    """The manifest beside an archive. Raises InputError if either is missing, or if they do not match."""
    path = archive.with_name(archive.name.removesuffix(".tar.gz") + ".json")
    if not archive.is_file() or not path.is_file():
        raise InputError(f"{archive} or its manifest {path.name} does not exist", "Build both with `make emr-package`.")
    manifest = Manifest.load(path.read_text())
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != manifest.sha256:
        raise InputError(f"{archive} is not the archive of its manifest", "Build both anew with `make emr-package`.")
    return manifest


def entry_point_source() -> bytes:
    """The entry point of jobs, `engines.emr.job_driver`, which is uploaded as one file."""
    return (files("engines.emr") / "job_driver.py").read_bytes()


def bootstrap_source() -> bytes:
    """The script that each instance of a cluster runs when it starts."""
    return (files("engines.emr") / "bootstrap.sh").read_bytes()


def code_digest() -> str:
    """Digest of the engines installed here. A job must run the same code as the process that submits it."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parents[1]
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def newer_glibc(needed: str, present: str) -> bool:
    """Whether a program that needs the C library `needed` does not run with `present`."""
    return _numbers(needed) > _numbers(present)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def facts_of(published: Published) -> dict[str, Any]:
    """For the run record: which archive computed the results."""
    return {"archive": published.manifest.name, "archive_sha256": published.manifest.sha256[:16]}
