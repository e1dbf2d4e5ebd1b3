"""Job-level cost allocation of an EMR Serverless application: without it AWS bills the application as one.

With it the bill has a line per job, with the job's tags (`fruit-features:run`), once they are activated as cost
allocation tags. docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/jobs-job-level-cost-allocation.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from engines.core.errors import TransientError
from engines.emr.calls import DENIED, Aws, AwsCallError

_CAN_BE_UPDATED = ("CREATED", "STOPPED")
"""An application that runs is not updated."""


def allocation_of(application: Mapping[str, Any]) -> str:
    """A line about it."""
    if _is_by_job(application):
        return "cost allocation: by job"
    return "cost allocation: by application; `fruits emr init` switches it to jobs"


def allocate_by_job(aws: Aws, identity: str) -> str:
    """Switch it on for the application with this id, and say so. Nothing depends on it, so this raises no refusal.

    Needs emr-serverless:UpdateApplication, which could also raise the application's limits: so it is for whoever makes
    the stack, and not for whoever submits jobs.
    """
    try:
        application = aws.call("emr-serverless", "get_application", applicationId=identity)["application"]
        if _is_by_job(application):
            return "cost allocation: by job"
        if application["state"] not in _CAN_BE_UPDATED:
            return (
                f"cost allocation: by application, as it is {application['state']}; run this again when it has stopped"
            )
        aws.call(
            "emr-serverless",
            "update_application",
            once=True,
            applicationId=identity,
            clientToken=uuid.uuid4().hex,
            jobLevelCostAllocationConfiguration={"enabled": True},
        )
    except AwsCallError as error:
        reason = "emr-serverless:UpdateApplication is not allowed" if error.code in DENIED else error.code
    except TransientError as error:
        reason = error.message
    else:
        return "cost allocation: by job, switched on now"
    return f"cost allocation: by application, as by job could not be switched on ({reason})"


def _is_by_job(application: Mapping[str, Any]) -> bool:
    return bool(application.get("jobLevelCostAllocationConfiguration", {}).get("enabled"))
