"""The parameters of the flows as Prefect's page shows them: choices, bounds and examples. The help is the docstrings'.

They serve the form, and Prefect's own check when a run is created, and are taken from the constants the code uses. What
decides is `flows.options.check_settings`, for every way to start a run.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from engines import ENGINES
from engines.core.networks.model import RUNTIMES
from engines.core.tables import FEATURES


def _form(**schema: Any) -> Any:
    return Field(json_schema_extra=schema)


Source = Annotated[str, _form(minLength=1, examples=["/data/fruits", "s3://bucket/photos"])]
Output = Annotated[str, _form(minLength=1, examples=["/data/features", "s3://bucket/features"])]
EngineName = Annotated[str, _form(enum=list(ENGINES))]
Components = Annotated[float, _form(exclusiveMinimum=0, maximum=FEATURES)]
Weights = Annotated[str, _form(minLength=1, examples=["imagenet", "random", "/models/weights.h5"])]
Runtime = Annotated[str, _form(enum=list(RUNTIMES))]
Glob = Annotated[str, _form(minLength=1, examples=["*.jpg", "*.[jJ][pP][gG]", "Training/*/*.png"])]
PerClass = Annotated[int | None, _form(minimum=1)]
Sample = Annotated[int | None, _form(minimum=1)]
ShardSize = Annotated[int, _form(minimum=1)]
Workers = Annotated[int | None, _form(minimum=1)]
Scheduler = Annotated[str | None, _form(examples=["tcp://scheduler:8786"])]
Emr = Annotated[str | dict[str, Any] | None, _form(examples=["fruits", {"max_cost": 5}])]
MaxRejects = Annotated[float, _form(minimum=0, maximum=1)]
Images = Annotated[int, _form(minimum=1)]
