"""What a Spark driver needs before it is started: Java, a user with a name, open files, a master that answers."""

from __future__ import annotations

import os
import pwd
import re
import resource
import socket
import subprocess

from engines.core.errors import InputError

_OLDEST_JAVA = 17
_OPEN_FILES = 400
_CONNECT_SECONDS = 15
_INSTALL_JAVA = (
    "Install Java 17 (Debian, Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17), "
    "or set JAVA_HOME to it."
)


def check_java() -> None:
    """Raise InputError unless the Java that Spark would start is there and is at least 17."""
    home = os.environ.get("JAVA_HOME")
    command = os.path.join(home, "bin", "java") if home else "java"
    named = f"{command} (from JAVA_HOME)" if home else "no java on the PATH"
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        raise InputError(f"Spark needs Java {_OLDEST_JAVA} and found none: {named}", _INSTALL_JAVA) from None
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if done.returncode != 0 or version is None:
        raise InputError(f"Spark needs Java {_OLDEST_JAVA}, and `{command} -version` fails", _INSTALL_JAVA)
    if int(version.group(1)) < _OLDEST_JAVA:
        raise InputError(
            f"Spark needs Java {_OLDEST_JAVA} or newer, and {command} is {version.group(1)}", _INSTALL_JAVA
        )


def check_user() -> None:
    """Raise InputError for a user that the system does not know, as in containers that run as any number.

    Spark's libraries ask Java for the name, and nothing else will do: Hadoop's UserGroupInformation, which logs in
    by UnixLoginModule.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise InputError(
            f"Spark needs a user with a name, and the system knows none of the number {os.getuid()}",
            f"Add it (echo 'fruits:x:{os.getuid()}:{os.getgid()}::/tmp:/bin/false' >> /etc/passwd), run as a user of "
            "the image, or use --engine dask.",
        ) from None


def check_open_files() -> None:
    """Raise InputError unless a process may have as many files open as a Spark driver has: its libraries are 300."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # Java raises its own limit up to this
    if most != resource.RLIM_INFINITY and most < _OPEN_FILES:
        raise InputError(
            f"Spark needs some {_OPEN_FILES} open files, and a process here may have {most} (ulimit -Hn)",
            "Raise it (ulimit -n 4096, or --ulimit nofile=4096 of the container), or use --engine dask.",
        )


def normalize_master(master: str, tries: int) -> str:
    """The master as Spark takes it, a local one with so many `tries` a task. Raises InputError for an unknown form."""
    local = re.fullmatch(r"local(?:\[(\*|[1-9][0-9]*)\])?", master)
    if local:
        return f"local[{local.group(1) or 1},{tries}]"
    if re.fullmatch(r"local\[(\*|[1-9][0-9]*),[1-9][0-9]*\]|spark://[^/:]+:\d+(,[^/:]+:\d+)*|yarn|k8s://.+", master):
        return master
    raise InputError(
        f"unknown Spark master {master!r}", "Give local[*], local[N], spark://HOST:PORT or yarn with --master."
    )


def check_master(master: str) -> None:
    """Raise InputError if nobody answers at the master's address. Spark itself would try for a minute."""
    if master == "yarn" and not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
        raise InputError("the master yarn needs the cluster's configuration", "Set HADOOP_CONF_DIR to its folder.")
    if not master.startswith("spark://"):
        return
    reasons = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or error}")
        else:
            return
    raise InputError(f"no Spark master answers at {master} ({'; '.join(reasons)})", "Check --master, and that it runs.")
