"""Hours of a job's workers on EMR Serverless: as AWS has billed them, or by its size and for how long it runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engines.emr.protocol import Billed

_LEAST_SECONDS = 60.0
"""A worker is billed a minute at least."""


def billed_workers(run: Mapping[str, Any]) -> Billed | None:
    """What AWS has billed for a job run, as GetJobRun gives it; None as long as it is not reported."""
    usage = run.get("billedResourceUtilization")
    if not usage:
        return None
    vcpu, memory, storage = (usage.get(name, 0.0) for name in ("vCPUHour", "memoryGBHour", "storageGBHour"))
    if not _is_flex(run):
        return Billed(vcpu, memory, storage)
    # AWS reports one sum. The driver is a standard worker for as long as the job ran, the rest is Flex.
    driver, _ = _workers(run)
    worked = driver.times(max(_LEAST_SECONDS, run.get("totalExecutionDurationSeconds", 0)) / 3600)
    driver_vcpu, driver_memory = min(vcpu, worked.vcpu_hours), min(memory, worked.memory_gb_hours)
    return Billed(driver_vcpu, driver_memory, storage, 0.0, vcpu - driver_vcpu, memory - driver_memory)


def used_workers(run: Mapping[str, Any], until: datetime) -> Billed:
    """What a job run has used until then: as billed, else all its workers from when it runs to its end.

    That is the most it can be: without dynamic allocation a job has never more workers than it asked for, and an
    executor that is reclaimed or has died leaves its place to the next.
    """
    billed = billed_workers(run)
    if billed is not None:
        return billed
    if "startedAt" not in run:  # it waits, which costs nothing
        return Billed()
    seconds = ((run.get("endedAt") or until) - run["startedAt"]).total_seconds()
    driver, executors = _workers(run)
    return (driver + executors).times(max(_LEAST_SECONDS, seconds) / 3600)


def _is_flex(run: Mapping[str, Any]) -> bool:
    return bool(run.get("flexExecution", {}).get("enabled"))


def _workers(run: Mapping[str, Any]) -> tuple[Billed, Billed]:
    """An hour of the driver, and one of all executors, by the parameters that the job was submitted with."""
    words = run["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].split()
    conf = dict(word.split("=", 1) for word in words if "=" in word)

    def size(role: str) -> tuple[int, int]:
        memory = sum(int(conf[f"spark.{role}.{name}"].removesuffix("g")) for name in ("memory", "memoryOverhead"))
        return int(conf[f"spark.{role}.cores"]), memory

    count = int(conf["spark.executor.instances"])
    vcpus, memory = (count * each for each in size("executor"))
    executors = Billed(flex_vcpu_hours=vcpus, flex_memory_gb_hours=memory) if _is_flex(run) else Billed(vcpus, memory)
    return Billed(*size("driver")), executors
