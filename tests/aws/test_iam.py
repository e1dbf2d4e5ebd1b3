"""The policies of the template: what each call needs is allowed on the named resource, and on no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.package import ROOT
from engines.core.storage.base import Storage
from engines.emr.quota import VCPU_QUOTA
from tests.aws.cloudformation import TEMPLATE, Stack, read_template
from tests.aws.iam_simulator import Request, decide, install
from tests.aws.stand_in import ACCOUNT, REGION

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a"
TAGGED = "for-use-with-amazon-emr-managed-policies"
ASKED = ((f"aws:RequestTag/{TAGGED}", "true"),)
CARRIED = ((f"elasticmapreduce:ResourceTag/{TAGGED}", "true"),)
STACK = Stack(
    "fruits",
    read_template(TEMPLATE.read_text()),
    {
        "SourceBucket": "our-photos",
        "SourcePrefix": "fruits/",
        "SourceKmsKey": KEY,
        "BucketKmsKey": KEY.replace("key/0a", "key/0b"),
        "ClusterVpc": "vpc-0123",
        "ClusterSubnet": "subnet-0123",
    },
)
APPLICATION = STACK.arn("Application")
BUCKET = STACK.arn("Bucket")
CLUSTER = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/j-1"


def passed_to(service: str) -> tuple[tuple[str, str], ...]:
    return (("iam:PassedToService", service),)


NOTHING: list[Request] = []
CALLS: dict[tuple[str, str], list[Request]] = {
    ("sts", "get_caller_identity"): NOTHING,  # everybody may
    ("iam", "get_role"): [
        Request("iam:GetRole", STACK.arn("ExecutionRole")),
        Request("iam:GetRole", STACK.arn("ServiceRole")),
    ],
    ("service-quotas", "get_service_quota"): [
        Request(
            "servicequotas:GetServiceQuota", f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:emr-serverless/{VCPU_QUOTA}"
        )
    ],
    ("s3", "head_bucket"): [Request("s3:ListBucket", BUCKET), Request("s3:ListBucket", "arn:aws:s3:::our-photos")],
    ("s3", "list_objects_v2"): [Request("s3:ListBucket", "arn:aws:s3:::our-photos")],
    ("s3", "head_object"): [Request("s3:GetObject", f"{BUCKET}/artifacts/archives/one.tar.gz")],
    ("s3", "get_object"): [
        Request("s3:GetObject", f"{BUCKET}/artifacts/current-x86_64.json"),
        Request("s3:GetObject", f"{BUCKET}/artifacts/logs/applications/00emr/jobs/1/SPARK_DRIVER/stderr.gz"),
        Request("s3:GetObject", "arn:aws:s3:::our-photos/fruits/Apple/1.jpg"),
    ],
    ("s3", "put_object"): [Request("s3:PutObject", f"{BUCKET}/artifacts/archives/one.tar.gz")],
    ("emr-serverless", "get_application"): [Request("emr-serverless:GetApplication", APPLICATION)],
    ("emr-serverless", "start_job_run"): [
        Request("emr-serverless:StartJobRun", APPLICATION),
        Request("emr-serverless:TagResource", f"{APPLICATION}/jobruns/00f"),
        Request("iam:PassRole", STACK.arn("ExecutionRole"), passed_to("emr-serverless.amazonaws.com")),
    ],
    ("emr-serverless", "list_job_runs"): [Request("emr-serverless:ListJobRuns", APPLICATION)],
    ("emr-serverless", "get_job_run"): [Request("emr-serverless:GetJobRun", f"{APPLICATION}/jobruns/00f")],
    ("emr-serverless", "cancel_job_run"): [Request("emr-serverless:CancelJobRun", f"{APPLICATION}/jobruns/00f")],
    ("emr-serverless", "get_dashboard_for_job_run"): [
        Request("emr-serverless:GetDashboardForJobRun", f"{APPLICATION}/jobruns/00f")
    ],
    ("emr", "run_job_flow"): [
        Request("elasticmapreduce:RunJobFlow", "*", ASKED),
        Request("elasticmapreduce:AddTags", CLUSTER, ASKED),
        Request("elasticmapreduce:PutAutoTerminationPolicy", CLUSTER, CARRIED),
        Request("elasticmapreduce:PutManagedScalingPolicy", CLUSTER, CARRIED),
        Request("iam:PassRole", STACK.arn("ServiceRole"), passed_to("elasticmapreduce.amazonaws.com")),
        Request("iam:PassRole", STACK.arn("InstanceRole"), passed_to("ec2.amazonaws.com")),
        Request(
            "iam:CreateServiceLinkedRole",
            f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/elasticmapreduce.amazonaws.com/AWSServiceRoleForEMRCleanup",
            (("iam:AWSServiceName", "elasticmapreduce.amazonaws.com"),),
        ),
    ],
    ("emr", "list_clusters"): [Request("elasticmapreduce:ListClusters", "*")],
    ("emr", "add_job_flow_steps"): [Request("elasticmapreduce:AddJobFlowSteps", CLUSTER, CARRIED)],
    ("emr", "cancel_steps"): [Request("elasticmapreduce:CancelSteps", CLUSTER, CARRIED)],
    ("emr", "describe_cluster"): [Request("elasticmapreduce:DescribeCluster", CLUSTER, CARRIED)],
    ("emr", "describe_step"): [Request("elasticmapreduce:DescribeStep", CLUSTER, CARRIED)],
    ("emr", "list_bootstrap_actions"): [Request("elasticmapreduce:ListBootstrapActions", CLUSTER, CARRIED)],
    ("emr", "list_instances"): [Request("elasticmapreduce:ListInstances", CLUSTER, CARRIED)],
    ("emr", "list_steps"): [Request("elasticmapreduce:ListSteps", CLUSTER, CARRIED)],
    ("emr", "terminate_job_flows"): [Request("elasticmapreduce:TerminateJobFlows", CLUSTER, CARRIED)],
}
"""Call of engines/emr, as boto3 names it -> what AWS asks IAM about it.
docs.aws.amazon.com/service-authorization/latest/reference, and for PassRole and tags the user guides of EMR."""

OUTPUT = f"{BUCKET}/output/all/run.json"
STORAGE: dict[str, list[Request]] = {
    "list": [Request("s3:ListBucket", BUCKET)],
    **{
        name: [Request("s3:GetObject", OUTPUT)]
        for name in ("read", "read_range", "read_versioned", "open", "stat", "exists")
    },
    "write": [Request("s3:PutObject", OUTPUT)],
    "check_writable": [Request("s3:ListBucket", BUCKET), Request("s3:PutObject", OUTPUT)],
    "delete": [Request("s3:DeleteObject", OUTPUT)],
}
"""What flow and jobs do with an output, by the methods of engines.core's Storage -> what S3 asks IAM about it."""

BOTH_KEYS = [
    Request("kms:Decrypt", KEY),
    Request("kms:Decrypt", STACK.parameters["BucketKmsKey"]),
    Request("kms:GenerateDataKey", STACK.parameters["BucketKmsKey"]),
]
FROM_THE_FLOW = [
    *(request for requests in STORAGE.values() for request in requests),
    Request("s3:PutObject", f"{BUCKET}/photos/one.jpg"),
    Request("s3:GetObject", "arn:aws:s3:::our-photos/fruits/Apple/1.jpg"),  # a few, for the report
    *BOTH_KEYS,
]
FROM_JOBS = [
    *(request for requests in STORAGE.values() for request in requests),
    Request("s3:ListBucket", "arn:aws:s3:::our-photos", (("s3:prefix", "fruits/Apple/"),)),
    Request("s3:GetObject", "arn:aws:s3:::our-photos/fruits/Apple/1.jpg"),
    Request("s3:GetObject", f"{BUCKET}/artifacts/archives/one.tar.gz"),
    Request("s3:GetObject", f"{BUCKET}/artifacts/entry/stage_job-1.py"),
    Request("s3:PutObject", f"{BUCKET}/artifacts/logs/1/stderr.gz"),
    *BOTH_KEYS,
]
BY_WHO_MAKES_STACKS = {"cost_allocation.py", "rights.py", "setup.py", "stack.py"}
"""Modules whose calls are an administrator's: `fruits emr init` and `fruits emr destroy`."""


def calls_of_the_engines() -> Iterator[tuple[str, str]]:
    """Every call to AWS below engines/emr: (service, operation)."""
    for path in (ROOT / "engines" / "emr").glob("*.py"):
        if path.name in BY_WHO_MAKES_STACKS:
            continue
        text = path.read_text()
        service = re.search(r'^SERVICE = "([\w-]+)"', text, re.MULTILINE)
        for named, operation in re.findall(r'\b_?aws\.(?:call|items)\(\s*(SERVICE|"[\w-]+"),\s*"(\w+)"', text):
            yield (service[1] if named == "SERVICE" and service else named.strip('"')), operation


def elsewhere(request: Request) -> Request:
    """The same request for another resource of the kind: somebody else's bucket, application, role, key or account."""
    for ours in (
        STACK.physical("Bucket"),
        "our-photos",
        "00emr",
        STACK.name,
        "key/0",
        VCPU_QUOTA,
        "AWSServiceRoleForEMR",
    ):
        if ours in request.resource:
            return Request(request.action, request.resource.replace(ours, f"{ours[:-1]}x-other", 1), request.context)
    if request.context:  # what is allowed by a tag alone
        return Request(request.action, request.resource, ((request.context[0][0], "false"),))
    raise AssertionError(f"no other resource is like {request}")


@pytest.fixture(scope="module", autouse=True)
def _simulator() -> None:
    install()


def decided(requests: list[Request], who: str) -> dict[Request, Any]:
    policies = STACK.policies()
    if who == "jobs":
        principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/{STACK.physical('ExecutionRole')}/job"
        return decide(requests, {"JobPolicy": policies["JobPolicy"]}, principal, ACCOUNT)
    submitter = {name: policies[name] for name in ("SubmitterPolicy", "ClusterSubmitterPolicy")}
    return decide(requests, submitter, f"arn:aws:iam::{ACCOUNT}:user/somebody", ACCOUNT)


def test_the_table_has_every_call_of_the_engines_and_no_other():
    assert set(CALLS) == set(calls_of_the_engines())


def test_the_table_has_everything_that_is_done_with_an_output():
    methods = {name for name in vars(Storage) if not name.startswith("_") and callable(getattr(Storage, name))}
    assert set(STORAGE) == methods - {"uri", "key", "check_key", "remove_unfinished"}  # which ask nothing of S3


NEEDED = {
    "submitter": [request for requests in CALLS.values() for request in requests] + FROM_THE_FLOW,
    "jobs": FROM_JOBS,
}


@pytest.mark.parametrize("who", NEEDED)
def test_every_call_is_allowed_on_its_resource_and_on_no_other(who: str):
    needed = NEEDED[who]
    assert [request for request, decision in decided(needed, who).items() if not decision.allowed] == []
    # Of the two that know no resource, one asks for a tag; every account may list its own clusters.
    other = [elsewhere(request) for request in needed if request.action != "elasticmapreduce:ListClusters"]
    assert [request for request, decision in decided(other, who).items() if decision.allowed] == []


@pytest.mark.parametrize("who", NEEDED)
def test_no_statement_allows_what_no_call_needs(who: str):
    policies = STACK.policies()
    names = ["JobPolicy"] if who == "jobs" else ["SubmitterPolicy", "ClusterSubmitterPolicy"]
    allowed = set()
    for name in names:
        for statement in policies[name]["Statement"]:
            actions = statement["Action"]
            allowed |= set(actions if isinstance(actions, list) else [actions])
    assert allowed == {request.action for request in NEEDED[who]}


def test_what_could_be_done_with_a_role_that_is_too_wide():
    """Passing a role to another service, clusters that are not tagged, deleting, or going beside the folders."""
    forbidden = [
        Request("iam:PassRole", STACK.arn("ExecutionRole"), passed_to("ec2.amazonaws.com")),
        Request("iam:PassRole", STACK.arn("ServiceRole"), passed_to("ec2.amazonaws.com")),
        Request("iam:PassRole", STACK.arn("InstanceRole"), passed_to("lambda.amazonaws.com")),
        Request("elasticmapreduce:RunJobFlow", "*"),
        Request("elasticmapreduce:TerminateJobFlows", CLUSTER),
        Request("s3:DeleteObject", f"{BUCKET}/artifacts/archives/one.tar.gz"),
        Request("s3:DeleteObject", "arn:aws:s3:::our-photos/fruits/Apple/1.jpg"),
        Request("s3:PutObject", "arn:aws:s3:::our-photos/fruits/Apple/1.jpg"),
        Request("s3:GetObject", "arn:aws:s3:::our-photos/other/1.jpg"),
        Request("s3:PutObject", f"{BUCKET}/elsewhere/1"),
        Request("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/new"),
    ]
    for who in NEEDED:
        assert [request for request, decision in decided(forbidden, who).items() if decision.allowed] == []
    jobs = [
        Request("s3:PutObject", f"{BUCKET}/artifacts/archives/one.tar.gz"),
        Request("s3:GetObject", f"{BUCKET}/photos/one.jpg"),
        Request("s3:ListBucket", "arn:aws:s3:::our-photos", (("s3:prefix", "other/"),)),
        Request("emr-serverless:StartJobRun", APPLICATION),
    ]
    assert [request for request, decision in decided(jobs, "jobs").items() if decision.allowed] == []


def test_a_star_as_resource_has_a_written_reason_and_aws_knows_no_resource():
    text = TEMPLATE.read_text()
    found = {}
    for name, document in STACK.policies().items():
        for statement in document["Statement"]:
            if statement["Resource"] == "*":
                assert re.search(rf"- Sid: {statement['Sid']} # .{{10,}}", text), f"{name}: {statement['Sid']}"
                found[statement["Action"]] = Request(statement["Action"], "*")
    assert set(found) == {"elasticmapreduce:RunJobFlow", "elasticmapreduce:ListClusters"}
    assert all(decision.star_only for decision in decided(list(found.values()), "submitter").values())
