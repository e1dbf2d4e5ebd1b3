"""Which EMR releases are supported: those whose line of Spark the test suite runs on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engines.core.errors import InputError
from engines.emr.archive import Manifest


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


RELEASE_LINES = (
    # docs.aws.amazon.com/emr/latest/ReleaseGuide/Spark-release-history.html: every 7.x release has Spark 3.5.
    ReleaseLine("emr-7.x", r"emr-7\.\d+\.\d+", "3.5", ("3.11",)),
    # emr-spark-8.1.0 has Spark 4.1, which is not tested here.
    ReleaseLine("emr-spark-8.0.x", r"emr-spark-8\.0\.\d+", "4.0", ("3.11", "3.12", "3.13")),
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

    Raises InputError for a release that is not supported, and for an archive whose Python is none that the line's
    PySpark is tested with.
    """
    line = release_line(label)
    minor = ".".join(manifest.python.split(".")[:2])
    if minor not in line.pythons:
        raise InputError(
            f"the archive {manifest.name} has Python {minor}, but {label} takes {', '.join(line.pythons)}",
            f"Build it with Python {line.pythons[0]} (`make emr-package`) and upload it with `fruits emr push`.",
        )
    return f"{label} (Spark {line.spark})"
