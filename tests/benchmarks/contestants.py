"""Who is measured: the chain on its engines, the limit, and what a user would write instead."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

FRUITS = str(Path(sys.executable).with_name("fruits"))


@dataclass(frozen=True, slots=True)
class Job:
    """The same photos, weights and cores for everybody; `output` is not there yet."""

    photos: Path
    weights: str
    output: Path
    cores: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command that does a job. `module`: a recipe; None: the chain on `engine`. `needs`: a package of its own.

    `limit`: it does less than the job, and nothing can be faster.
    """

    name: str
    what: str
    module: str | None = None
    engine: str = ""
    needs: str = ""
    limit: bool = False

    def command(self, job: Job) -> list[str]:
        """What is run."""
        if self.module is None:
            return [
                *(FRUITS, "run", str(job.photos), str(job.output), "--weights", job.weights),
                *("--engine", self.engine, "--workers", str(job.cores), "--no-prefect"),
            ]
        module = f"tests.benchmarks.recipes.{self.module}"
        places = [str(job.photos), job.weights, str(job.output)]
        return [sys.executable, "-m", module, *places, "--cores", str(job.cores)]


LIMIT = "network alone"
CHAIN = "fruits, Dask"

CONTESTANTS = (
    Contestant(CHAIN, "the whole chain as a process: `fruits run`, model converted before", engine="dask"),
    Contestant("fruits, Spark", "the same with `--engine spark`", engine="spark"),
    Contestant(
        LIMIT,
        "the limit: LiteRT on pixels in memory, an interpreter of one thread a core; no start, no files, no PCA",
        module="network_alone",
        limit=True,
    ),
    Contestant(
        "notebook",
        "the notebook's recipe on Spark: binaryFile, pandas UDF with Keras' `predict`, MLlib; features written once",
        module="notebook",
    ),
    Contestant("tf.data", "`tf.data`, Keras' `predict`, scikit-learn, one process on all cores", module="tf_data"),
    Contestant("Ray Data", "an actor a core around the same LiteRT network, scikit-learn", "ray_data", needs="ray"),
    Contestant("Daft", "a class UDF around the same LiteRT network, scikit-learn", "daft_frame", needs="daft"),
)
