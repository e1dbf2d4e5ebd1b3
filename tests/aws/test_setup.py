"""`fruits emr init` and `fruits emr destroy`: every call answered by the stand-in, with AWS's usual refusals."""

from __future__ import annotations

import io
import sys

import boto3
import pytest

from engines.emr.settings import load_settings
from engines.emr.stack import template_text
from tests.aws import spark_jobs
from tests.aws.conftest import whole_run
from tests.aws.setup_terminal import Terminal, refused
from tests.aws.stand_in import StandIn
from tests.s3 import Aws


def test_it_asks_before_anything_is_made(terminal: Terminal, stand_in: StandIn):
    done = terminal.init()
    refused(done, "nobody can be asked here, and nothing was done", "--yes")
    assert "It costs nothing while no job runs" in done.stdout
    assert "quota: 4000 vCPU" in done.stdout
    assert stand_in.count("CreateStack") == 0
    assert not (terminal.folder / "fruits.toml").exists()


class Keyboard(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_for_region_and_images_and_may_say_no(
    terminal: Terminal, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, aws: Aws, bucket: str
):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(terminal.folder / "none"))
    aws.put(bucket, {"p/Apple/1.jpg": b"1"})
    for answer, made in (("n", 0), ("y", 1)):
        monkeypatch.setattr(sys, "stdin", Keyboard(f"us-east-1\ns3://{bucket}/p\n{answer}\n"))
        done = terminal.init()
        assert f"bucket {bucket}: us-east-1, its images can be read" in done.stdout
        assert done.returncode == 1 - made, done.stderr
        assert len(stand_in.stacks.made) == made
    assert stand_in.stacks.made[terminal.stack].stack.given["SourceBucket"] == bucket


def test_stack_settings_and_archive_are_made_and_made_again_they_stay(terminal: Terminal, stand_in: StandIn, aws: Aws):
    done = terminal.init("--yes")
    assert done.returncode == 0, done.stderr
    assert "CREATE_COMPLETE  Application" in done.stdout
    settings = load_settings(config=str(terminal.folder / "fruits.toml"), environ={})
    assert (settings.application_id, settings.artifacts) == ("00emr", f"s3://{terminal.bucket}/artifacts")
    assert "artifacts/current-x86_64.json" in aws.keys(terminal.bucket)
    again = terminal.init("--yes")
    assert again.returncode == 0, again.stderr
    assert stand_in.count("CreateStack") == 1
    assert len(stand_in.stacks.made) == 1
    # A role for jobs, a bucket and an application need no network: an account without a default VPC is as good.
    assert not {name for name, _ in stand_in.calls if "Vpc" in name or "Subnet" in name}


@whole_run
def test_the_first_run_ends_with_its_result_its_cost_and_how_to_remove_it(
    terminal: Terminal, stand_in: StandIn, aws: Aws
):
    stand_in.serverless.work = spark_jobs.serial
    done = terminal.emr("init", "--archive", str(terminal.archive), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 made-up photos" in done.stdout
    assert "projected" in done.stdout
    assert "US dollars" in done.stdout + done.stderr
    assert done.stdout.strip().endswith("Remove everything: fruits emr destroy")
    assert len([key for key in aws.keys(terminal.bucket) if key.startswith("output/first-run/photos/")]) == 100
    assert stand_in.running() == []


def test_what_is_removed_is_shown_first(terminal: Terminal, stand_in: StandIn, aws: Aws):
    assert terminal.init("--yes").returncode == 0
    done = terminal.emr("destroy")
    refused(done, "nothing was done", "--yes")
    assert "AWS::EMRServerless::Application 00emr" in " ".join(done.stdout.split())
    assert f"the bucket {terminal.bucket}: 4 objects" in done.stdout
    assert stand_in.stacks.made
    assert aws.keys(terminal.bucket)


def test_everything_is_removed_also_what_runs(terminal: Terminal, stand_in: StandIn):
    stand_in.serverless.work = spark_jobs.hang
    assert terminal.init("--yes").returncode == 0
    settings = load_settings(config=str(terminal.folder / "fruits.toml"), environ={})
    boto3.client("emr-serverless").start_job_run(
        applicationId="00emr",
        clientToken="one",
        executionRoleArn=settings.execution_role,
        name="fruit-features/run-1/0/0123456789abcdef",
        executionTimeoutMinutes=5,
        jobDriver={
            "sparkSubmit": {"entryPoint": "s3://b/e.py", "entryPointArguments": [], "sparkSubmitParameters": SIZE}
        },
        configurationOverrides={
            "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": settings.logs + "/"}}
        },
    )
    assert stand_in.running()
    done = terminal.emr("destroy", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stand_in.running() == []
    assert stand_in.serverless.application["state"] == "STOPPED"
    assert stand_in.stacks.made == {}
    assert terminal.bucket not in [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert not (terminal.folder / "fruits.toml").exists()
    refused(terminal.emr("destroy", "--yes"), f"there is no stack {terminal.stack} in us-east-1", "--stack")


SIZE = " ".join(
    f"--conf spark.{name}"
    for name in (
        "driver.cores=1",
        "driver.memory=1g",
        "driver.memoryOverhead=1g",
        "executor.instances=1",
        "executor.cores=1",
        "executor.memory=1g",
        "executor.memoryOverhead=1g",
    )
)


def test_the_bucket_may_be_kept(terminal: Terminal, stand_in: StandIn, aws: Aws):
    assert terminal.init("--yes").returncode == 0
    done = terminal.emr("destroy", "--yes", "--keep-bucket")
    assert done.returncode == 0, done.stderr
    assert aws.keys(terminal.bucket)
    assert stand_in.stacks.made == {}
    later = terminal.emr("destroy", "--yes")  # found by the settings, which are kept as long as it is
    assert later.returncode == 0, later.stderr
    refused(terminal.emr("destroy", "--yes"), "there is no stack", "--config")


def test_a_right_that_is_missing_is_named_before_anything_is_made(terminal: Terminal, stand_in: StandIn):
    stand_in.identities.lacks = {"iam:CreateRole": "policies"}
    refused(terminal.init("--yes"), "nothing was made: iam:CreateRole", "an administrator once")
    assert stand_in.count("CreateStack") == 0
    stand_in.identities.lacks.clear()
    assert "rights: all " in terminal.init("--yes").stdout
    stand_in.identities.lacks = {"iam:CreateRole": "policies"}
    again = terminal.init("--yes")  # bringing it up to date makes no role
    assert again.returncode == 0, again.stderr


SCP = (
    "User: arn:aws:iam::123456789012:user/me is not authorized to perform: cloudformation:CreateStack on resource: "
    "arn:aws:cloudformation:us-east-1:123456789012:stack/fruits/* with an explicit deny in a service control policy"
)


def test_an_organization_that_forbids_it(terminal: Terminal, stand_in: StandIn):
    stand_in.faults.deny["CreateStack"] = SCP
    refused(terminal.init("--yes"), "AWS does not allow it", "who administers AWS Organizations")


def test_a_user_who_is_no_administrator(terminal: Terminal, stand_in: StandIn):
    stand_in.faults.deny["CreateStack"] = SCP.partition(" with an explicit")[0]
    refused(terminal.init("--yes"), "cloudformation:CreateStack", "takes an administrator once")


def test_a_resource_that_the_organization_forbids_and_the_next_try(terminal: Terminal, stand_in: StandIn):
    """CloudFormation says so in the events alone, and keeps the name of the stack."""
    stand_in.stacks.refuse["Application"] = SCP.replace(
        "cloudformation:CreateStack", "emr-serverless:CreateApplication"
    )
    done = terminal.init("--yes")
    refused(done, "could not be made: Application: User", "who administers AWS Organizations")
    assert "ROLLBACK_COMPLETE" in {made.status for made in stand_in.stacks.made.values()}
    stand_in.stacks.refuse.clear()
    boto3.client("s3").delete_bucket(Bucket=terminal.bucket)  # as CloudFormation does when it rolls back
    for role in boto3.client("iam").list_roles()["Roles"]:
        if role["RoleName"].startswith(terminal.stack):
            boto3.client("iam").delete_role(RoleName=role["RoleName"])
    again = terminal.init("--yes")
    assert again.returncode == 0, again.stderr
    assert "ROLLBACK_COMPLETE: it is removed first" in again.stdout


def test_the_first_application_of_an_account(terminal: Terminal, stand_in: StandIn):
    stand_in.stacks.refuse["Application"] = "Access denied when calling CreateServiceLinkedRole operation"
    refused(terminal.init("--yes"), "could not be made: Application: Access denied", "create-service-linked-role")


def test_an_answer_that_is_lost_makes_no_second_stack(terminal: Terminal, stand_in: StandIn):
    stand_in.faults.lose_after["CreateStack"] = 1
    done = terminal.init("--yes")
    assert done.returncode == 0, done.stderr
    assert stand_in.count("CreateStack") == 2
    assert len(stand_in.stacks.made) == 1


@pytest.mark.parametrize("vcpus", [0.0, 4.0])
def test_a_quota_that_holds_no_job(terminal: Terminal, stand_in: StandIn, vcpus: float):
    stand_in.quotas.vcpus = vcpus
    refused(terminal.init("--yes"), f"of {vcpus:g} vCPU does not hold a driver and one executor", "L-D05C8A75")
    assert stand_in.count("CreateStack") == 0


def test_images_in_another_region(terminal: Terminal, stand_in: StandIn, aws: Aws):
    far = f"far-{terminal.stack}"
    aws.client().create_bucket(Bucket=far, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    refused(terminal.init("--yes", "--source", f"s3://{far}/p"), f"{far} is in eu-central-1", "eu-central-1")
    assert stand_in.count("CreateStack") == 0


def test_images_that_are_not_there(terminal: Terminal, stand_in: StandIn, bucket: str):
    refused(terminal.init("--yes", "--source", f"s3://{bucket}/p"), f"there is nothing below s3://{bucket}/p", "prefix")
    refused(terminal.init("--yes", "--source", "photos"), "the source photos is not on S3", "s3://BUCKET")


def test_images_that_may_not_be_read(terminal: Terminal, stand_in: StandIn, aws: Aws, bucket: str):
    aws.put(bucket, {"p/Apple/1.jpg": b"1"})
    aws.deny(bucket, "s3:GetObject")
    refused(
        terminal.init("--yes", "--source", f"s3://{bucket}/p"), "cannot be read: AWS does not allow", "s3:GetObject"
    )


def test_the_images_are_given_to_the_stack(terminal: Terminal, stand_in: StandIn, aws: Aws, bucket: str):
    aws.put(bucket, {"p/Apple/1.jpg": b"1"})
    done = terminal.init("--yes", "--source", f"s3://{bucket}/p", "--parameter", "MaximumVcpus=16")
    assert done.returncode == 0, done.stderr
    (made,) = stand_in.stacks.made.values()
    given = {"MaximumVcpus": "16", "SourceBucket": bucket, "SourcePrefix": "p/"}
    assert made.stack.given == given
    assert f"fruits run s3://{bucket}/p/ s3://{terminal.bucket}/output/all" in done.stdout
    again = terminal.init("--yes", "--parameter", "IdleMinutes=5")
    assert again.returncode == 0, again.stderr
    assert "This updates the stack" in again.stdout
    kept = stand_in.stacks.made[terminal.stack].stack.parameters
    assert {name: kept[name] for name in (*given, "IdleMinutes")} == given | {"IdleMinutes": "5"}


def test_a_parameter_that_the_template_does_not_have(terminal: Terminal, stand_in: StandIn):
    done = terminal.init("--yes", "--parameter", "Vcpus=16")
    refused(done, "[Vcpus] do not exist in the template", "template.yaml")
    refused(terminal.init("--yes", "--parameter", "Vcpus"), "--parameter Vcpus sets nothing", "NAME=VALUE")


def test_a_file_of_settings_that_somebody_wrote_is_kept(terminal: Terminal, stand_in: StandIn):
    (terminal.folder / "fruits.toml").write_text('[emr]\nregion = "us-east-1"\n')
    refused(terminal.init("--yes"), "fruits.toml was not written by `fruits emr init`", "--config FILE")
    assert stand_in.count("CreateStack") == 0


def test_a_machine_without_a_region(terminal: Terminal, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(terminal.folder / "none"))
    refused(terminal.init("--yes"), "no AWS region is named", "--region us-east-1")


def test_the_template_is_short_enough_to_be_sent():
    """docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html: TemplateBody."""
    assert len(template_text().encode()) <= 51_200
