"""EMR on EC2 on the stand-in: clusters, bootstrap actions and steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.aws import spark_jobs
from tests.aws.spark_jobs import Work

if TYPE_CHECKING:
    from tests.aws.stand_in import StandIn

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED")
ALIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")


@dataclass
class Step:
    """One step."""

    id: str
    request: dict[str, Any]
    state: str = "PENDING"
    detail: str = ""
    work: Work | None = None
    timeline: dict[str, datetime] = field(default_factory=lambda: {"CreationDateTime": datetime.now(UTC)})


@dataclass
class Cluster:
    """One cluster: its request, and its steps in order."""

    id: str
    request: dict[str, Any]
    folder: Path
    state: str = "STARTING"
    reason: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    boot: Work | None = None
    began: float = field(default_factory=time.monotonic)
    timeline: dict[str, datetime] = field(default_factory=lambda: {"CreationDateTime": datetime.now(UTC)})


class Clusters:
    """Clusters and steps. `work(arguments)` makes what a step does; None runs it as submitted."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.work: Callable[[list[str]], Any] | None = None
        self.clusters: dict[str, Cluster] = {}
        self.spot = True
        """Whether there is spot capacity. Fleets switch to on-demand instances where there is none."""

    def running(self) -> list[str]:
        for cluster in self.clusters.values():
            self._update(cluster)
        alive = [
            cluster
            for cluster in self.clusters.values()
            if cluster.state not in ("TERMINATED", "TERMINATED_WITH_ERRORS")
        ]
        return [cluster.id for cluster in alive if not cluster.request.get("_given")] + [
            step.id for cluster in self.clusters.values() for step in cluster.steps if step.state not in ENDED
        ]

    def kill(self) -> None:
        for cluster in self.clusters.values():
            for step in cluster.steps:
                if step.work is not None:
                    step.work.cancel()

    # Operations, by their names in the model.

    def run_job_flow(self, **request: Any) -> dict[str, Any]:
        identity = f"j-{len(self.clusters):013d}"
        self.clusters[identity] = Cluster(identity, request, self.stand_in.scratch / identity)
        return {
            "JobFlowId": identity,
            "ClusterArn": f"arn:aws:elasticmapreduce:us-east-1:123456789012:cluster/{identity}",
        }

    def describe_cluster(self, ClusterId: str) -> dict[str, Any]:
        cluster = self._update(self._find(ClusterId))
        return {
            "Cluster": {
                "Id": cluster.id,
                "Name": cluster.request["Name"],
                "Status": self._status(cluster),
                "ReleaseLabel": cluster.request["ReleaseLabel"],
                "Tags": cluster.request.get("Tags", []),
            }
        }

    def list_clusters(self, ClusterStates: list[str] | None = None, **_: Any) -> dict[str, Any]:
        found = [self._update(cluster) for cluster in reversed(self.clusters.values())]
        chosen = [cluster for cluster in found if not ClusterStates or cluster.state in ClusterStates]
        return {
            "Clusters": [{"Id": item.id, "Name": item.request["Name"], "Status": self._status(item)} for item in chosen]
        }

    def list_bootstrap_actions(self, ClusterId: str) -> dict[str, Any]:
        actions = self._find(ClusterId).request.get("BootstrapActions", [])
        scripts = [(action["Name"], action["ScriptBootstrapAction"]) for action in actions]
        return {
            "BootstrapActions": [
                {"Name": name, "ScriptPath": script["Path"], "Args": script["Args"]} for name, script in scripts
            ]
        }

    def list_instances(self, ClusterId: str) -> dict[str, Any]:
        cluster = self._update(self._find(ClusterId))
        state = "RUNNING" if cluster.state in ALIVE else "TERMINATED"
        asked = cluster.request["Instances"]
        markets = ["ON_DEMAND"] * sum(group["InstanceCount"] for group in asked.get("InstanceGroups", []))
        for fleet in asked.get("InstanceFleets", []):
            spot = fleet["TargetSpotCapacity"]
            assert (
                not spot or fleet["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
            )
            markets += ["ON_DEMAND"] * fleet["TargetOnDemandCapacity"] + ["SPOT" if self.spot else "ON_DEMAND"] * spot
        status = {"State": state, "Timeline": cluster.timeline}
        return {
            "Instances": [
                {"Id": f"ci-{position:013d}", "Status": status, "Market": market}
                for position, market in enumerate(markets)
            ]
        }

    def add_job_flow_steps(self, JobFlowId: str, Steps: list[dict[str, Any]]) -> dict[str, Any]:
        cluster = self._update(self._find(JobFlowId))
        if cluster.state not in ALIVE:
            raise _error(400, "ValidationException", f"the cluster is {cluster.state}")
        added = [Step(f"s-{len(cluster.steps) + number:013d}", step) for number, step in enumerate(Steps)]
        cluster.steps += added
        return {"StepIds": [step.id for step in added]}

    def list_steps(self, ClusterId: str) -> dict[str, Any]:
        cluster = self._update(self._find(ClusterId))
        return {"Steps": [self._step(step) for step in reversed(cluster.steps)]}

    def describe_step(self, ClusterId: str, StepId: str) -> dict[str, Any]:
        cluster = self._update(self._find(ClusterId))
        return {"Step": self._step(next(step for step in cluster.steps if step.id == StepId))}

    def cancel_steps(self, ClusterId: str, StepIds: list[str], StepCancellationOption: str) -> dict[str, Any]:
        cluster = self._update(self._find(ClusterId))
        assert StepCancellationOption in ("SEND_INTERRUPT", "TERMINATE_PROCESS")
        infos = []
        for step in cluster.steps:
            if step.id in StepIds:
                accepted = step.state not in ENDED
                if accepted:
                    self._cancel(step)
                infos.append({"StepId": step.id, "Status": "SUBMITTED" if accepted else "FAILED", "Reason": step.state})
        return {"CancelStepsInfoList": infos}

    def terminate_job_flows(self, JobFlowIds: list[str]) -> dict[str, Any]:
        for identity in JobFlowIds:
            cluster = self._find(identity)
            cluster.state = "TERMINATING"
            cluster.reason = {"Code": "USER_REQUEST", "Message": "Terminated by user request"}
            for step in cluster.steps:
                if step.state not in ENDED:
                    self._cancel(step)
        return {}

    # What happens with time.

    def _update(self, cluster: Cluster) -> Cluster:
        with self.stand_in.lock:
            waited = time.monotonic() - cluster.began >= self.stand_in.startup.job
            if cluster.state == "STARTING" and waited and not self.stand_in.faults.pending:
                cluster.state = "BOOTSTRAPPING"
                cluster.boot = Work(self._bootstrap(cluster))
            if cluster.state == "BOOTSTRAPPING" and cluster.boot is not None and cluster.boot.outcome is not None:
                code, _, err = cluster.boot.outcome
                cluster.state = "WAITING" if code == 0 else "TERMINATED_WITH_ERRORS"
                if code != 0:
                    message = f"bootstrap action 1 returned a non-zero return code: {err.decode()}"
                    cluster.reason = {"Code": "BOOTSTRAP_FAILURE", "Message": message}
            for step in cluster.steps:
                self._update_step(cluster, step)
            if cluster.state == "TERMINATING" and all(step.state in ENDED for step in cluster.steps):
                cluster.state = "TERMINATED"
                cluster.timeline["EndDateTime"] = datetime.now(UTC)
            return cluster

    def _bootstrap(self, cluster: Cluster) -> Any:
        def start(_: Work) -> tuple[int, bytes, bytes]:
            cluster.folder.mkdir()
            if self.work is None:
                environment = self._environment(cluster, cluster.folder)
                for action in cluster.request.get("BootstrapActions", []):
                    script = action["ScriptBootstrapAction"]
                    code, err = spark_jobs.run_bootstrap(script["Path"], script["Args"], cluster.folder, environment)
                    if code != 0:
                        return code, b"", err
            return 0, b"", b""

        return start

    def _update_step(self, cluster: Cluster, step: Step) -> None:
        if cluster.state == "TERMINATED_WITH_ERRORS" and step.state not in ENDED:
            step.state = "CANCELLED"
        elif step.state == "PENDING" and cluster.state in ("WAITING", "RUNNING"):
            step.state = "RUNNING"
            step.timeline["StartDateTime"] = datetime.now(UTC)
            arguments = step.request["HadoopJarStep"]["Args"]
            made = self.work([arguments[-1]]) if self.work is not None else self._spark(cluster, step, arguments)
            step.work = Work(spark_jobs.after(self.stand_in.startup.executor, made))
        elif step.work is not None and step.work.ended.is_set() and step.state not in ENDED:
            self._end(cluster, step)

    def _spark(self, cluster: Cluster, step: Step, arguments: list[str]) -> Any:
        folder = cluster.folder / step.id

        def start(work: Work) -> tuple[int, bytes, bytes]:
            folder.mkdir()
            environment = self._environment(cluster, folder)
            command = spark_jobs.step_command(arguments, folder, environment)
            return spark_jobs.submit(command, environment, folder)(work)

        return start

    def _environment(self, cluster: Cluster, folder: Path) -> dict[str, str]:
        release = cluster.request["ReleaseLabel"]
        return spark_jobs.minimal_environment(folder, self.stand_in.endpoint_s3, "us-east-1", release)

    def _end(self, cluster: Cluster, step: Step) -> None:
        assert step.work is not None
        assert step.work.outcome is not None
        code, out, err = step.work.outcome
        cancelled = step.state == "CANCEL_PENDING"
        step.state = "CANCELLED" if cancelled else "COMPLETED" if code == 0 else "FAILED"
        step.detail = "" if cancelled or code == 0 else f"exit code {code}"
        step.timeline["EndDateTime"] = datetime.now(UTC)
        folder = f"{cluster.request['LogUri'].rstrip('/')}/{cluster.id}/steps/{step.id}"
        spark_jobs.upload_log(f"{folder}/stdout.gz", out)
        spark_jobs.upload_log(f"{folder}/stderr.gz", err)

    def _cancel(self, step: Step) -> None:
        if step.work is None:
            step.state = "CANCELLED"
        else:
            step.state = "CANCEL_PENDING"
            step.work.cancel()

    def _status(self, cluster: Cluster) -> dict[str, Any]:
        reason = {"StateChangeReason": cluster.reason} if cluster.reason else {}
        return {"State": cluster.state, "Timeline": cluster.timeline, **reason}

    def _step(self, step: Step) -> dict[str, Any]:
        status: dict[str, Any] = {"State": step.state, "Timeline": step.timeline}
        if step.detail:
            status["FailureDetails"] = {"Reason": "Unknown Error.", "Message": step.detail}
        return {
            "Id": step.id,
            "Name": step.request["Name"],
            "Status": status,
            "ActionOnFailure": step.request["ActionOnFailure"],
        }

    def _find(self, identity: str) -> Cluster:
        if identity not in self.clusters:
            raise _error(400, "InvalidRequestException", f"Cluster id '{identity}' is not valid.")
        return self.clusters[identity]


def _error(status: int, code: str, message: str) -> Exception:
    from tests.aws.stand_in import AwsError

    return AwsError(status, code, message)
