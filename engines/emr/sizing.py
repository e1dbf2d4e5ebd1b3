"""The size of a job: how many executors its stages need for their images, within what EMR offers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engines.core.errors import InputError
from engines.emr.settings import EmrSettings

TARGET_MINUTES = 5.0
"""The work that each core should get. With less, starting the workers costs more than their work."""

START_MINUTES = 2.0
"""Assumed time from a job's submission to its first task, billed for all workers. Not measured on AWS."""

WAIT_MINUTES = 0.25
"""Assumed time that a job waits for its run between the stages and takes to end, with all its workers."""

IMAGES_PER_SECOND = {"fit_pca": 4000.0, "project": 2000.0, "neighbours": 250.0}
"""Assumed rates of the other stages, per vCPU. They mostly read and write S3."""

WORKER_MEMORY_GB = {1: (2, 8, 1), 2: (4, 16, 1), 4: (8, 30, 1), 8: (16, 60, 4), 16: (32, 120, 8)}
"""vCPU -> least, most and step of a worker's memory on EMR Serverless.
docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/app-behavior.html, "Supported worker configurations"."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage has to do: images, and the shards that they are in."""

    images: int
    shards: int


@dataclass(frozen=True, slots=True)
class Size:
    """The number of executors, and the cores and memory of driver and executor. Memory is a worker's whole memory."""

    executors: int
    executor_cores: int
    executor_memory_gb: int
    driver_cores: int
    driver_memory_gb: int

    @property
    def vcpus(self) -> int:
        """Of driver and executors together."""
        return self.driver_cores + self.executors * self.executor_cores

    @property
    def memory_gb(self) -> int:
        """Of driver and executors together."""
        return self.driver_memory_gb + self.executors * self.executor_memory_gb

    def spark_conf(self) -> dict[str, str]:
        """The Spark properties for this size. Without dynamic allocation, it is also the most that can be billed.

        Python and LiteRT work outside of the JVM: most of a worker's memory is what Spark calls overhead.
        """
        executor_heap = max(1, self.executor_memory_gb // 4)
        driver_heap = max(1, self.driver_memory_gb // 4)
        return {
            "spark.dynamicAllocation.enabled": "false",
            "spark.executor.instances": str(self.executors),
            "spark.executor.cores": str(self.executor_cores),
            "spark.executor.memory": f"{executor_heap}g",
            "spark.executor.memoryOverhead": f"{self.executor_memory_gb - executor_heap}g",
            "spark.driver.cores": str(self.driver_cores),
            "spark.driver.memory": f"{driver_heap}g",
            "spark.driver.memoryOverhead": f"{self.driver_memory_gb - driver_heap}g",
        }


def size_for_job(settings: EmrSettings, work: Mapping[str, Work]) -> Size:
    """The size of a job that does all of `work`, by stage: that of the stage that needs most.

    A core gets about TARGET_MINUTES of work, and at least a shard. Raises InputError for a worker shape that EMR
    Serverless does not have.
    """
    executors = settings.executors
    if executors is None:
        executors = max(_executors(settings, stage, todo) for stage, todo in work.items())
    if executors < 1:
        raise InputError(f"{executors} executors cannot do anything", "Give at least 1.")
    return replace(smallest_size(settings), executors=executors)


def smallest_size(settings: EmrSettings) -> Size:
    """One executor of the settings. Raises InputError for a worker shape that EMR Serverless does not have."""
    check_worker("executor", settings.executor_cores, settings.executor_memory_gb)
    check_worker("driver", settings.driver_cores, settings.driver_memory_gb)
    return Size(
        1, settings.executor_cores, settings.executor_memory_gb, settings.driver_cores, settings.driver_memory_gb
    )


def minutes_for_job(settings: EmrSettings, work: Mapping[str, Work], size: Size) -> float:
    """Estimated minutes from the job's submission to its end. A core works on one shard at a time."""
    minutes = START_MINUTES + WAIT_MINUTES
    for stage, todo in work.items():
        cores = max(1, min(todo.shards, size.executors * size.executor_cores))
        minutes += todo.images / (rate(settings, stage) * cores) / 60
    return minutes


def rate(settings: EmrSettings, stage: str) -> float:
    """The assumed rate of a stage, in images a second and vCPU."""
    return settings.images_per_vcpu_second if stage == "featurize" else IMAGES_PER_SECOND[stage]


def _executors(settings: EmrSettings, stage: str, work: Work) -> int:
    cores = min(work.shards, math.ceil(work.images / (rate(settings, stage) * TARGET_MINUTES * 60)))
    return min(settings.max_executors, max(1, math.ceil(cores / settings.executor_cores)))


def check_worker(role: str, cores: int, memory_gb: int) -> None:
    """Raise InputError unless EMR Serverless has workers of this shape."""
    if cores not in WORKER_MEMORY_GB:
        raise InputError(
            f"an {role} cannot have {cores} vCPU", f"Choose one of: {', '.join(map(str, WORKER_MEMORY_GB))}."
        )
    least, most, step = WORKER_MEMORY_GB[cores]
    if not least <= memory_gb <= most or memory_gb % step:
        raise InputError(
            f"an {role} of {cores} vCPU cannot have {memory_gb} GB", f"Choose {least} to {most} GB in steps of {step}."
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """What all workers together may have. `memory_gb` is None where only vCPUs are limited. `hint`: how to raise it."""

    name: str
    vcpus: float
    memory_gb: float | None
    hint: str

    def __str__(self) -> str:
        memory = "" if self.memory_gb is None else f" and {self.memory_gb:g} GB"
        return f"{self.name} of {self.vcpus:g} vCPU{memory}"


def shrink_to(size: Size, limit: Limit) -> Size:
    """The size with as many of its executors as the limit allows. Raises InputError if it does not allow even one."""
    executors = min(size.executors, int((limit.vcpus - size.driver_cores) // size.executor_cores))
    if limit.memory_gb is not None:
        executors = min(executors, int((limit.memory_gb - size.driver_memory_gb) // size.executor_memory_gb))
    if executors < 1:
        raise InputError(
            f"{limit} does not hold a driver and one executor "
            f"({size.driver_cores + size.executor_cores} vCPU, {size.driver_memory_gb + size.executor_memory_gb} GB)",
            limit.hint,
        )
    return Size(executors, size.executor_cores, size.executor_memory_gb, size.driver_cores, size.driver_memory_gb)
