"""Jobs as steps of an EMR cluster on EC2: a given cluster, or one created for the run and terminated with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from engines.core.errors import InputError, StageError, TransientError
from engines.emr.archive import Artifacts, Manifest
from engines.emr.calls import LOGGER, Aws, AwsCallError, refused
from engines.emr.cluster_request import cluster_for, cluster_name, step_for
from engines.emr.instance_hours import billed_instances, hours
from engines.emr.log_tail import read_log_tail
from engines.emr.preflight import check_role
from engines.emr.protocol import Billed, JobName, JobRequest, JobStatus, State
from engines.emr.releases import check_release
from engines.emr.serverless import LONGEST_RUN
from engines.emr.settings import SETTINGS_OUTPUT, EmrSettings

SERVICE = "emr"

_ALIVE = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_DEAD = ["TERMINATED", "TERMINATED_WITH_ERRORS"]
_STATES = {
    "PENDING": State.WAITING,
    "RUNNING": State.RUNNING,
    "CANCEL_PENDING": State.ENDING,
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "INTERRUPTED": State.CANCELLED,
}
_TRIES = 3


class ClusterRunner:
    """JobRunner of one cluster; a job's id is `CLUSTER/STEP`.

    EMR on EC2 has no client tokens. So after a lost connection the cluster or step is first looked for by its name,
    and only started again if it is not there.
    """

    def __init__(self, settings: EmrSettings, aws: Aws, artifacts: Artifacts) -> None:
        self._settings = settings
        self._aws = aws
        self._artifacts = artifacts
        self._created: str | None = None
        self._asked_for: str | None = None
        """The run for which a cluster was requested. AWS may or may not have created it."""

    def submit(self, job: JobRequest) -> str:
        """See JobRunner."""
        cluster = self._settings.cluster_id or self._cluster_of(job)
        step = step_for(job, self._settings, self._artifacts.current())
        for _ in range(_TRIES):
            present = [found["Id"] for found in self._steps(cluster) if found["Name"] == str(job.name)]
            if present:
                return f"{cluster}/{present[0]}"
            try:
                answer = self._aws.call(
                    SERVICE,
                    "add_job_flow_steps",
                    once=True,
                    JobFlowId=cluster,
                    Steps=[step],
                )
            except TransientError as error:
                LOGGER.info("%s, so %s may have been accepted; looking for it", error.message, job.name)
                self._aws.pause(self._settings.poll_seconds)
                continue
            except AwsCallError as error:
                raise refused(
                    error,
                    f"the job of the run {job.name.run} could not be added to {cluster}",
                    "Look at the cluster in the console; when it has ended, run again.",
                ) from error
            return f"{cluster}/{answer['StepIds'][0]}"
        raise TransientError(
            f"the job of the run {job.name.run} could not be added to {cluster} in {_TRIES} attempts",
            "Check the network and the service's status, then run again: what was done is kept.",
        )

    def _cluster_of(self, job: JobRequest) -> str:
        run = job.name.run
        wanted = cluster_for(run, self._settings, self._artifacts.current(), job.size)
        for _ in range(_TRIES):
            alive = [cluster["Id"] for cluster in self._clusters(_ALIVE) if cluster["Name"] == cluster_name(run)]
            if alive:
                self._created = str(alive[0])
                return self._created
            self._asked_for = run
            try:
                answer = self._aws.call(SERVICE, "run_job_flow", once=True, **wanted)
            except TransientError as error:
                LOGGER.info("%s, so the cluster may have been accepted; looking for it", error.message)
                self._aws.pause(self._settings.poll_seconds)
                continue
            except AwsCallError as error:
                raise refused(
                    error,
                    "the cluster could not be created",
                    f"Check service_role, instance_profile and subnet_id: {SETTINGS_OUTPUT}.",
                ) from error
            self._created = str(answer["JobFlowId"])
            LOGGER.info("cluster %s requested", self._created)
            return self._created
        raise TransientError(
            f"the cluster could not be created in {_TRIES} attempts",
            "Check the network and the service's status, then run again.",
        )

    def adopt(self, job_id: str) -> None:
        """See JobRunner: `close` will terminate the job's cluster, unless it is a given one."""
        if not self._settings.cluster_id:
            self._created = job_id.split("/", maxsplit=1)[0]

    def poll(self, job_id: str) -> JobStatus:
        """See JobRunner. If the cluster died, the step has failed, with the cluster's reason."""
        cluster, step_id = job_id.split("/")
        try:
            step = self._aws.call(SERVICE, "describe_step", ClusterId=cluster, StepId=step_id)["Step"]
            status = self._aws.call(SERVICE, "describe_cluster", ClusterId=cluster)["Cluster"]["Status"]
        except AwsCallError as error:
            raise refused(error, f"the step {job_id} cannot be read", "Check cluster_id and region.") from error
        found = _status(cluster, step)
        if found is None:
            raise InputError(f"the step {job_id} ({step['Name']}) is not one of fruit-features", "Check the step's id.")
        change = status.get("StateChangeReason", {})
        reason = change.get("Message", "")
        died = status["State"] == "TERMINATED_WITH_ERRORS" and found.state is not State.SUCCEEDED
        if died or (status["State"] in _DEAD and not found.state.ended):
            state = State.CANCELLED if change.get("Code") == "USER_REQUEST" else State.FAILED
            return JobStatus(job_id, found.name, state, status["State"], f"the cluster {cluster} ended: {reason}")
        if found.state is State.WAITING:
            return JobStatus(job_id, found.name, State.WAITING, f"{found.aws_state}, cluster {status['State']}", reason)
        return found

    def cancel(self, job_id: str) -> None:
        """See JobRunner. The cluster stays until `close`."""
        cluster, step = job_id.split("/")
        try:
            answer = self._aws.call(
                SERVICE,
                "cancel_steps",
                ClusterId=cluster,
                StepIds=[step],
                StepCancellationOption="TERMINATE_PROCESS",
            )
        except AwsCallError as error:
            if not self.poll(job_id).state.active:
                return  # it has ended meanwhile, or its cluster has
            raise refused(error, f"the step {job_id} could not be cancelled", "Terminate the cluster.") from error
        for info in answer.get("CancelStepsInfoList", []):
            if info.get("Status") == "FAILED" and self.poll(job_id).state.active:
                raise StageError(
                    f"the step {job_id} could not be cancelled: {info.get('Reason')}", "Terminate the cluster."
                )

    def logs(self, job_id: str) -> str:
        """See JobRunner."""
        folder = f"{self._settings.logs}/{job_id.replace('/', '/steps/')}"
        return read_log_tail(self._aws, folder, ("stderr.gz", "stdout.gz"), self._settings.log_wait_seconds)

    def find(self) -> list[JobStatus]:
        """See JobRunner."""
        if self._settings.cluster_id:
            clusters = [self._settings.cluster_id]
        else:
            clusters = [item["Id"] for item in self._clusters() if item["Name"].startswith("fruit-features/")]
        found = []
        for cluster in reversed(clusters):  # AWS lists the newest first
            found += [_status(cluster, step) for step in reversed(self._steps(cluster))]
        return [status for status in found if status is not None]

    def dashboard(self, job_id: str) -> str:
        """See JobRunner: the cluster's page in the console, which needs a login there."""
        cluster = job_id.split("/", maxsplit=1)[0]
        region = self._settings.region
        return f"https://{region}.console.aws.amazon.com/emr/home?region={region}#/clusterDetails/{cluster}"

    def stop_leftovers(self, run: str) -> list[str]:
        """See JobRunner: terminates the cluster that was created for the run, never a given one."""
        if self._settings.cluster_id:
            return []
        clusters = [item["Id"] for item in self._clusters(_ALIVE) if item["Name"] == cluster_name(run)]
        if clusters:
            self._terminate(clusters)
        return clusters

    def billed(self, run: str) -> Billed | None:
        """See JobRunner: what is used is billed."""
        return self.used(run, datetime.now(UTC))

    def used(self, run: str, until: datetime) -> Billed:
        """See JobRunner: hours of all instances; of a given cluster only the time it worked on the run's steps."""
        if not self._settings.cluster_id:
            own = [item["Id"] for item in self._clusters() if item["Name"] == cluster_name(run)]
            return billed_instances((instance for cluster in own for instance in self._instances(cluster)), until)
        cluster = self._settings.cluster_id
        steps = [step for step in self._steps(cluster) if (name := JobName.parse(step["Name"])) and name.run == run]
        worked = sum(hours(step["Status"]["Timeline"], "StartDateTime", until) for step in steps)
        running = [item for item in self._instances(cluster) if item["Status"]["State"] == "RUNNING"]
        return Billed(instance_hours=worked * len(running))

    def check(self, manifest: Manifest) -> list[str]:
        """See JobRunner: the given cluster and its archive, or what is needed to create one."""
        if self._settings.cluster_id:
            return [self._check_given(manifest)]
        release = check_release(self._settings.release_label, manifest)
        if not self._settings.subnet_id or not self._settings.instance_profile:
            raise InputError(
                "no subnet_id or instance_profile was given for the cluster",
                f"Set them in the [emr] table: {SETTINGS_OUTPUT} when ClusterVpc was given.",
            )
        note = check_role(self._aws, self._settings.service_role, "elasticmapreduce.amazonaws.com", "service_role")
        return [f"a cluster of {release} will be created in {self._settings.subnet_id}", note]

    def _check_given(self, manifest: Manifest) -> str:
        identity = self._settings.cluster_id
        try:
            cluster = self._aws.call(SERVICE, "describe_cluster", ClusterId=identity)["Cluster"]
            actions = list(self._aws.items(SERVICE, "list_bootstrap_actions", ClusterId=identity))
        except AwsCallError as error:
            raise refused(error, f"the cluster {identity} cannot be used", "Check cluster_id and region.") from error
        if cluster["Status"]["State"] not in _ALIVE:
            raise InputError(f"the cluster {identity} is {cluster['Status']['State']}", "Give one that runs, or none.")
        release = check_release(cluster["ReleaseLabel"], manifest)
        if not any(manifest.sha256 in action.get("Args", []) for action in actions):
            raise InputError(
                f"the cluster {identity} was not started with the archive {manifest.name}",
                "Give it the bootstrap action of deployments/README.md when you start it, or leave out cluster_id.",
            )
        return f"cluster {identity}: {cluster['Status']['State']}, {release}"

    def describe(self) -> dict[str, str | float]:
        """See JobRunner."""
        cluster = self._settings.cluster_id or self._created or ""
        facts: dict[str, str | float] = {"cluster": cluster, "instances": self._settings.instance_type}
        return facts | ({"capacity": "spot"} if self._settings.flex and not self._settings.cluster_id else {})

    def close(self) -> None:
        """See JobRunner: terminates the cluster it created, also one that was created without an answer reaching us."""
        clusters = [] if self._created is None else [self._created]
        try:
            if self._asked_for is not None:
                alive = [item["Id"] for item in self._clusters(_ALIVE) if item["Name"] == cluster_name(self._asked_for)]
                clusters += [cluster for cluster in alive if cluster not in clusters]
        finally:
            if clusters:
                self._terminate(clusters)
        self._created, self._asked_for = None, None

    def _terminate(self, clusters: list[str]) -> None:
        try:
            self._aws.call(SERVICE, "terminate_job_flows", JobFlowIds=clusters)
        except AwsCallError as error:
            raise refused(
                error,
                f"the cluster {', '.join(clusters)} could not be terminated",
                f"Terminate it in the console; idle, it ends by itself after {self._settings.idle_minutes} minutes.",
            ) from error
        LOGGER.info("cluster %s terminated", ", ".join(clusters))

    def _clusters(self, states: list[str] | None = None) -> list[dict[str, Any]]:
        since = {"CreatedAfter": datetime.now(UTC) - LONGEST_RUN}
        chosen = {"ClusterStates": states} if states else {}
        try:
            return list(self._aws.items(SERVICE, "list_clusters", **since, **chosen))
        except AwsCallError as error:
            raise refused(error, "the clusters cannot be listed", "Check your permissions.") from error

    def _steps(self, cluster: str) -> list[dict[str, Any]]:
        try:
            return list(self._aws.items(SERVICE, "list_steps", ClusterId=cluster))
        except AwsCallError as error:
            raise refused(error, f"the steps of {cluster} cannot be listed", "Check cluster_id and region.") from error

    def _instances(self, cluster: str) -> list[dict[str, Any]]:
        try:
            return list(self._aws.items(SERVICE, "list_instances", ClusterId=cluster))
        except AwsCallError as error:
            raise refused(error, f"the instances of {cluster} cannot be listed", "Check your permissions.") from error


def _status(cluster: str, step: dict[str, Any]) -> JobStatus | None:
    name = JobName.parse(step["Name"])
    if name is None:
        return None
    status = step["Status"]
    state = _STATES.get(status["State"], State.RUNNING)  # an unknown state may cost money
    failure = status.get("FailureDetails", {})
    detail = failure.get("Message") or failure.get("Reason") or status.get("StateChangeReason", {}).get("Message", "")
    return JobStatus(f"{cluster}/{step['Id']}", name, state, status["State"], detail)
