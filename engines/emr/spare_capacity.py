"""Executors on spare capacity, at a lower price: Flex of EMR Serverless, spot instances of EMR on EC2.

AWS may take them back at any time. A shard is idempotent, so one whose executor is gone is done again by another, with
the same bytes in the same place. The driver, and on EC2 one core instance, have capacity that stays: however many
executors go, the job goes on.

docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/jobs-flex-execution.html: executors run on spare capacity, the
driver on a standard worker, for batch jobs of Spark on both architectures.
docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html: a fleet that gets no spot instances in time
switches to on-demand ones.
"""

from __future__ import annotations

from typing import Any

from engines.core.errors import InputError
from engines.emr.calls import Aws
from engines.emr.settings import EmrSettings
from engines.emr.sizing import Size

TRIES = 12
"""Attempts at a task, at least: each executor that is reclaimed costs one."""

_SPOT_MINUTES = 5
"""How long a fleet waits for spot instances before it switches. The least that RunJobFlow takes."""


def spark_conf(settings: EmrSettings, tries: int) -> dict[str, str]:
    """Spark properties for executors that may be lost: `tries` of a task, and more where they are reclaimed."""
    return {"spark.task.maxFailures": str(max(TRIES, tries) if settings.flex else tries)}


def check_flex(aws: Aws, release: str) -> str:
    """A line about Flex. Raises InputError if the installed boto3 does not know it."""
    if not aws.takes("emr-serverless", "StartJobRun", "flexExecution"):
        raise InputError("the boto3 that is installed here does not know Flex", "Upgrade it: pip install -U boto3.")
    # Which releases have it is not published as a list. AWS says it when the job is started.
    return f"Flex: executors on spare capacity; AWS says when the job is started if {release} does not have it"


def instances_for(settings: EmrSettings, size: Size) -> dict[str, Any]:
    """The instances of a cluster for a job of this size, as RunJobFlow takes them: all but two on spot capacity."""
    return {
        "InstanceFleets": [
            _fleet("MASTER", settings, on_demand=1),
            _fleet("CORE", settings, on_demand=1),
            *([_fleet("TASK", settings, spot=size.executors - 1)] if size.executors > 1 else []),
        ]
    }


def _fleet(role: str, settings: EmrSettings, *, on_demand: int = 0, spot: int = 0) -> dict[str, Any]:
    fleet: dict[str, Any] = {
        "Name": {"MASTER": "primary"}.get(role, role.lower()),
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": on_demand,
        "TargetSpotCapacity": spot,
        "InstanceTypeConfigs": [{"InstanceType": settings.instance_type, "WeightedCapacity": 1}],
    }
    if spot:
        fleet["LaunchSpecifications"] = {
            "SpotSpecification": {
                "TimeoutDurationMinutes": _SPOT_MINUTES,
                "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                "AllocationStrategy": "price-capacity-optimized",
            }
        }
    return fleet
