"""What a submitted job does on the stand-in: run for real with spark-submit, or behave as a test tells it to."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from deployments.package import ROOT
from engines.base import Engine
from engines.emr import job_driver
from engines.emr.orders import OrderLog
from engines.emr.releases import release_line
from tests.parity.chain import SequentialEngine

ROLE_SECRET = "secret-of-the-role-" + "x" * 20
"""The secret key that jobs get. A test looks for it where no secret may be."""

ENVIRONMENTS = {"3.5": ".venv", "4.0": ".venv-spark40", "4.1": ".venv-spark41"}
"""Line of Spark -> the environment of this project that has it."""

ROLE_TOKEN = "token-of-the-role-" + "y" * 40


def spark_homes() -> dict[str, Path]:
    """Version of Spark -> its folder, of those in the environments of this project."""
    environments = [Path(sys.prefix), *(ROOT / name for name in ENVIRONMENTS.values())]
    found = {}
    for environment in environments:
        for path in environment.glob("lib/python3*/site-packages/pyspark/version.py"):
            version = re.search(r'__version__.*"(.+)"|__version__.*\'(.+)\'', path.read_text())
            assert version is not None, path
            found[version[1] or version[2]] = path.parent
    return found


def spark_home(release: str) -> Path:
    """The Spark of an EMR release. Raises LookupError with the name of the environment that has none."""
    line = release_line(release).spark
    for version, folder in spark_homes().items():
        if version.startswith(f"{line}."):
            return folder
    raise LookupError(
        f"{release} has Spark {line}, which is in no environment: `make test-aws` makes {ENVIRONMENTS[line]}"
    )


def need_spark(release: str) -> None:
    """Skip the test, by name of what is absent, where no environment has the Spark of a release."""
    try:
        spark_home(release)
    except LookupError as error:
        pytest.skip(str(error))


def split_s3(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def download(url: str, path: Path) -> Path:
    bucket, key = split_s3(url)
    boto3.client("s3").download_file(bucket, key, str(path))
    return path


def upload_log(url: str, text: bytes) -> None:
    bucket, key = split_s3(url)
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=gzip.compress(text))


class Work:
    """One job under way in a thread. `outcome` is set when it has ended: exit code, standard output, standard error."""

    def __init__(self, run: Callable[[Work], tuple[int, bytes, bytes]]) -> None:
        self.outcome: tuple[int, bytes, bytes] | None = None
        self.cancelled = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.began = time.monotonic()
        self.ended = threading.Event()
        self._run = run
        threading.Thread(target=self._start, daemon=True, name="job").start()

    def _start(self) -> None:
        try:
            self.outcome = self._run(self)
        except Exception as error:
            self.outcome = (70, b"", f"stand-in: {type(error).__name__}: {error}".encode())
        self.ended.set()

    def cancel(self) -> None:
        self.cancelled.set()
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # the group was made for this job alone


class KilledError(BaseException):
    """Ends a job in this process as a signal would end it elsewhere."""


Job = Callable[[list[str]], Callable[[Work], tuple[int, bytes, bytes]]]


def serving(engine: Callable[[Work], Engine]) -> Job:
    """Serve orders in this process as a real job does, with an engine that runs here."""

    def make(arguments: list[str]) -> Callable[[Work], tuple[int, bytes, bytes]]:
        job = json.loads(arguments[0])

        def run(work: Work) -> tuple[int, bytes, bytes]:
            def pause(_: float) -> None:
                if work.cancelled.wait(0.03):
                    raise KilledError

            try:
                with engine(work) as made:
                    code = job_driver.serve(
                        OrderLog(job["output"], job["folder"]), made, job["idle_seconds"], pause=pause
                    )
            except KilledError:
                return 137, b"", b"killed"
            return code, b"", b""

        return run

    return make


serial = serving(lambda _: SequentialEngine())


def before(stage: str, wait: Callable[[Work], None]) -> Job:
    """Serve orders, and call `wait` before each order of this stage. A job that was cancelled then is killed."""

    def engine(work: Work) -> Engine:
        made = SequentialEngine()
        method = getattr(made, stage)

        def waited(request: Any) -> Any:
            wait(work)
            if work.cancelled.is_set():
                raise KilledError
            return method(request)

        setattr(made, stage, waited)
        return made

    return serving(engine)


def after(
    seconds: float, run: Callable[[Work], tuple[int, bytes, bytes]]
) -> Callable[[Work], tuple[int, bytes, bytes]]:
    """The same work once its executors are there, which takes `seconds`."""

    def started(work: Work) -> tuple[int, bytes, bytes]:
        return (137, b"", b"killed") if work.cancelled.wait(seconds) and seconds else run(work)

    return started


def hang(_: list[str]) -> Callable[[Work], tuple[int, bytes, bytes]]:
    """Run until cancelled."""

    def run(work: Work) -> tuple[int, bytes, bytes]:
        work.cancelled.wait()
        return 137, b"", b"killed"

    return run


def fail(text: str) -> Callable[[list[str]], Callable[[Work], tuple[int, bytes, bytes]]]:
    """End at once with exit code 1 and `text` in the log."""
    return lambda _: lambda _work: (1, b"", text.encode())


def submit(command: list[str], environment: dict[str, str], folder: Path) -> Callable[[Work], tuple[int, bytes, bytes]]:
    """Start `command` in `folder` with `environment` and nothing else, as a worker of EMR would."""

    def run(work: Work) -> tuple[int, bytes, bytes]:
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            work.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True
            )
            code = work.process.wait()
        return code, (folder / "stdout").read_bytes(), (folder / "stderr").read_bytes()

    return run


def minimal_environment(folder: Path, endpoint: str, region: str, release: str) -> dict[str, str]:
    """What a worker of this release has, as far as it matters: no virtual environment, no path of the developer."""
    java = Path(os.path.realpath(shutil.which("java") or "java")).parents[1]
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "JAVA_HOME": os.environ.get("JAVA_HOME", str(java)),
        "SPARK_HOME": str(spark_home(release)),
        "SPARK_LOCAL_DIRS": str(folder / "spark"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # Short jobs on few cores: most of their time went into compiling Spark.
        "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "AWS_REGION": region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "ASIAROLE",
        "AWS_SECRET_ACCESS_KEY": ROLE_SECRET,
        "AWS_SESSION_TOKEN": ROLE_TOKEN,
    }


def serverless_command(driver: dict[str, Any], folder: Path, environment: dict[str, str]) -> list[str]:
    """spark-submit with the parameters as submitted; `s3://` becomes the downloaded file, as EMRFS would have it.

    Adds to `environment` what `spark.emr-serverless.driverEnv` asks for, and unpacks the archives beside the job.
    """
    words = shlex.split(driver["sparkSubmitParameters"])
    for position, word in enumerate(words):
        name, _, value = word.partition("=")
        if name.startswith("spark.emr-serverless.driverEnv."):
            environment[name.removeprefix("spark.emr-serverless.driverEnv.")] = value
        if name == "spark.archives":
            url, _, alias = value.partition("#")
            local = download(url, folder / url.rsplit("/", 1)[-1])
            unpack(local, folder / alias)
            words[position] = f"{name}={local}#{alias}"
    entry = download(driver["entryPoint"], folder / "entry_point.py")
    submit_script = str(Path(environment["SPARK_HOME"], "bin", "spark-submit"))
    return [submit_script, "--master", "local[2]", *words, str(entry), *driver["entryPointArguments"]]


def step_command(arguments: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """A step of command-runner.jar as submitted, its `s3://` entry point downloaded."""
    environment["PATH"] = f"{environment['SPARK_HOME']}/bin:{environment['PATH']}"
    return [
        str(download(word, folder / "entry_point.py")) if word.startswith("s3://") and word.endswith(".py") else word
        for word in with_master(arguments)
    ]


def with_master(arguments: list[str]) -> list[str]:
    """EMR's spark-defaults.conf says `spark.master yarn`; here it is this machine."""
    position = arguments.index("spark-submit") + 1
    return [*arguments[:position], "--master", "local[2]", *arguments[position:]]


AWS_CLI = """
import boto3, sys
service, command, *rest = [word for word in sys.argv[1:] if word != "--only-show-errors"]
assert (service, command) == ("s3", "cp"), sys.argv
bucket, _, key = rest[0].removeprefix("s3://").partition("/")
boto3.client("s3").download_file(bucket, key, rest[1])
"""


def run_bootstrap(script: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, bytes]:
    """A cluster's bootstrap action, with an `aws` command that has just `s3 cp`; its exit code and standard error."""
    tools = folder / "tools"
    tools.mkdir(parents=True)
    (tools / "aws.py").write_text(AWS_CLI)
    aws = tools / "aws"
    aws.write_text(f'#!/bin/bash\nexec {sys.executable} {tools / "aws.py"} "$@"\n')
    aws.chmod(0o755)
    local = download(script, folder / "bootstrap.sh")
    environment = {**environment, "PATH": f"{tools}:{environment['PATH']}"}
    done = subprocess.run(
        ["bash", str(local), *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    return done.returncode, done.stderr


def unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
