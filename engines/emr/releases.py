"""Which EMR releases are supported: those whose line of Spark the test suite runs on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engines.core.errors import InputError
from engines.emr.archive import RELEASE_INTERPRETER, Manifest


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """Releases with one line of Spark, and the minor versions of Python that the line is tested with.

    PySpark is the release's own. The archive has none, so one archive serves every line.
    """

    labels: str
    """As a person reads it."""
    pattern: str
    spark: str
    pythons: tuple[str, ...]
    image_pythons: tuple[str, ...]
    """Those that the image has."""
    image_pattern: str
    """The releases whose image has them."""


RELEASE_LINES = (
    # docs.aws.amazon.com/emr/latest/ReleaseGuide/Spark-release-history.html: every 7.x release has Spark 3.5. A cluster
    # has Python 3.11 from 7.1.0 on (emr-release-app-versions-7.x.html); of EMR Serverless it is known from 7.13.0 on.
    ReleaseLine("emr-7.x", r"emr-7\.\d+\.\d+", "3.5", ("3.11",), ("3.11",), r"emr-7\.(1[3-9]|[2-9]\d)\.\d+"),
    # emr-spark800-release.html and emr-spark810-release.html: Python 3.11 and 3.13.
    ReleaseLine(
        "emr-spark-8.0.x", r"emr-spark-8\.0\.\d+", "4.0", ("3.11", "3.12", "3.13"), ("3.11", "3.13"), r"emr-spark-8\..*"
    ),
    ReleaseLine(
        "emr-spark-8.1.x", r"emr-spark-8\.1\.\d+", "4.1", ("3.11", "3.12", "3.13"), ("3.11", "3.13"), r"emr-spark-8\..*"
    ),
)


def release_line(label: str) -> ReleaseLine:
    """The line of a release. Raises InputError for a release of no line that is tested here."""
    line = next((line for line in RELEASE_LINES if re.fullmatch(line.pattern, label)), None)
    if line is None:
        supported = ", ".join(f"{line.labels} (Spark {line.spark})" for line in RELEASE_LINES)
        raise InputError(f"the EMR release {label} is not supported", f"Supported are {supported}.")
    return line


def check_release(label: str, manifest: Manifest) -> str:
    """The release and its line of Spark, in words.

    Raises InputError for a release that is not supported, for an archive whose Python is none that the line's PySpark
    is tested with, and for an archive without a Python on a release whose image is not known to have it.
    """
    line = release_line(label)
    minor = ".".join(manifest.python.split(".")[:2])
    if minor not in line.pythons:
        raise InputError(
            f"the archive {manifest.name} has Python {minor}, but {label} takes {', '.join(line.pythons)}",
            f"Build it with Python {line.pythons[0]} (`make emr-package`) and upload it with `fruits emr push`.",
        )
    in_image = minor in line.image_pythons and re.fullmatch(line.image_pattern, label)
    if manifest.interpreter == RELEASE_INTERPRETER and not in_image:
        raise InputError(
            f"the archive {manifest.name} has no Python of its own, and {label} is not known to have Python {minor}",
            "Use emr-7.13.0 or later, or build it with `python -m deployments.package --interpreter standalone`.",
        )
    return f"{label} (Spark {line.spark})"
