"""The requests that create an EMR cluster on EC2 and add steps to it."""

from __future__ import annotations

from typing import Any

from engines.emr.archive import Published
from engines.emr.protocol import TAG_RUN, JobRequest
from engines.emr.settings import EmrSettings
from engines.emr.sizing import Size
from engines.emr.spare_capacity import instances_for, spark_conf

BOOTSTRAP_NAME = "fruit-features archive"


def cluster_name(run: str) -> str:
    """The name of a run's cluster, by which it is found again."""
    return f"fruit-features/{run}"


def step_for(job: JobRequest, settings: EmrSettings, published: Published) -> dict[str, Any]:
    """The step that runs `job`, as AddJobFlowSteps takes it."""
    python = f"{settings.unpack_folder}/bin/python"
    conf = {
        **job.size.spark_conf(),
        **spark_conf(settings, job.tries),
        "spark.pyspark.python": python,
        "spark.pyspark.driver.python": python,
        "spark.executorEnv.AWS_DEFAULT_REGION": settings.region,
    }
    options = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    # EMR has no time limit for a step, and a working cluster is not idle: `timeout` sets the limit.
    limit = ["timeout", "--kill-after=60", f"{settings.timeout_minutes}m"]
    return {
        "Name": str(job.name),
        "ActionOnFailure": "CANCEL_AND_WAIT",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [
                *limit,
                "spark-submit",
                "--deploy-mode",
                "client",
                *options,
                published.entry_point,
                *job.arguments,
            ],
        },
    }


def cluster_for(run: str, settings: EmrSettings, published: Published, size: Size) -> dict[str, Any]:
    """The cluster for a run whose job is of this size, as RunJobFlow takes it. It terminates itself when idle.

    One on spare capacity has its size from the start, so that its fleets can switch to on-demand instances; another one
    grows with the executors, up to their number.
    """
    groups: dict[str, Any] = {
        "InstanceGroups": [
            {
                "Name": "primary",
                "InstanceRole": "MASTER",
                "InstanceType": settings.instance_type,
                "InstanceCount": 1,
            },
            {"Name": "core", "InstanceRole": "CORE", "InstanceType": settings.instance_type, "InstanceCount": 1},
        ],
    }
    instances: dict[str, Any] = {
        **(instances_for(settings, size) if settings.flex else groups),
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
        "Ec2SubnetId": settings.subnet_id,
    }
    security = {
        "EmrManagedMasterSecurityGroup": settings.security_group_primary,
        "EmrManagedSlaveSecurityGroup": settings.security_group_core,
        "ServiceAccessSecurityGroup": settings.security_group_service,
    }
    instances.update({name: group for name, group in security.items() if group})
    tags = {TAG_RUN: run, "for-use-with-amazon-emr-managed-policies": "true"}
    cluster: dict[str, Any] = {
        "Name": cluster_name(run),
        "ReleaseLabel": settings.release_label,
        "Applications": [{"Name": "Spark"}],
        "LogUri": f"{settings.logs}/",
        "ServiceRole": settings.service_role,
        "JobFlowRole": settings.instance_profile,
        "Instances": instances,
        "BootstrapActions": [
            {
                "Name": BOOTSTRAP_NAME,
                "ScriptBootstrapAction": {
                    "Path": published.bootstrap,
                    "Args": [published.url, published.manifest.sha256, settings.unpack_folder],
                },
            }
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        "StepConcurrencyLevel": 1,
        "VisibleToAllUsers": True,
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_minutes * 60},
    }
    if not settings.flex:
        limits = {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": size.executors}
        cluster["ManagedScalingPolicy"] = {"ComputeLimits": limits}
    if settings.security_configuration:
        cluster["SecurityConfiguration"] = settings.security_configuration
    return cluster
