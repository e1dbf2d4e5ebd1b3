"""What `fruits emr init` has to be allowed, asked of IAM before anything is made.

A right that is missing then shows by its name, and not as half a stack that is rolled back.

docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html. What a type of resource takes is in its
schema, under `handlers`: docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-type-schemas.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engines.core.errors import FruitsError, InputError, TransientError
from engines.emr.calls import ADVICE_ORGANIZATION, DENIED, MISSING, Aws, AwsCallError

BY_TYPE: dict[str, dict[str, str]] = {
    "AWS::S3::Bucket": {
        "arn:{partition}:s3:::{stack}-bucket-1a2b3c4d5e6f": "s3:CreateBucket s3:PutBucketTagging s3:ListBucket "
        "s3:PutEncryptionConfiguration s3:PutBucketOwnershipControls s3:PutBucketPublicAccessBlock "
        "s3:PutLifecycleConfiguration s3:DeleteBucket",
    },
    "AWS::S3::BucketPolicy": {
        "arn:{partition}:s3:::{stack}-bucket-1a2b3c4d5e6f": "s3:GetBucketPolicy s3:PutBucketPolicy "
        "s3:DeleteBucketPolicy",
    },
    "AWS::EMRServerless::Application": {
        "*": "emr-serverless:CreateApplication",
        "arn:{partition}:emr-serverless:{region}:{account}:/applications/00fruits": "emr-serverless:GetApplication "
        "emr-serverless:TagResource emr-serverless:DeleteApplication",
    },
    "AWS::IAM::ManagedPolicy": {
        "arn:{partition}:iam::{account}:policy/{stack}-JobPolicy-1A2B3C4D5E6F": "iam:CreatePolicy iam:GetPolicy "
        "iam:ListPolicyVersions iam:ListEntitiesForPolicy iam:DeletePolicy",
    },
    "AWS::IAM::Role": {
        "arn:{partition}:iam::{account}:role/{stack}-ExecutionRole-1A2B3C4D5E6F": "iam:CreateRole iam:TagRole "
        "iam:AttachRolePolicy iam:GetRole iam:DetachRolePolicy iam:DeleteRole iam:ListAttachedRolePolicies "
        "iam:ListRolePolicies",
    },
}
"""Type of a resource in every stack -> a resource like it -> what making it takes, and removing it again."""

BY_TYPE_IN_A_NETWORK: dict[str, dict[str, str]] = {
    "AWS::EC2::SecurityGroup": {
        "arn:{partition}:ec2:{region}:{account}:security-group/sg-0123456789abcdef0": "ec2:CreateSecurityGroup "
        "ec2:DeleteSecurityGroup",
        "*": "ec2:DescribeSecurityGroups",
    },
}
"""The same, with ApplicationVpc or ClusterVpc."""

BY_TYPE_OF_CLUSTERS: dict[str, dict[str, str]] = {
    "AWS::EC2::SecurityGroup": {
        "arn:{partition}:ec2:{region}:{account}:security-group/sg-0123456789abcdef0": "ec2:RevokeSecurityGroupEgress "
        "ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress ec2:CreateTags",
    },
    "AWS::EC2::SecurityGroupIngress": {
        "arn:{partition}:ec2:{region}:{account}:security-group/sg-0123456789abcdef0": "ec2:RevokeSecurityGroupIngress",
        "*": "ec2:DescribeSecurityGroupRules",
    },
    "AWS::IAM::Role": {
        "arn:{partition}:iam::{account}:role/{stack}-ServiceRole-1A2B3C4D5E6F": "iam:PutRolePolicy iam:GetRolePolicy "
        "iam:DeleteRolePolicy",
    },
    "AWS::IAM::InstanceProfile": {
        "arn:{partition}:iam::{account}:instance-profile/{stack}-Profile-1A2B3C4D5E6F": "iam:DeleteInstanceProfile "
        "iam:CreateInstanceProfile iam:AddRoleToInstanceProfile iam:RemoveRoleFromInstanceProfile "
        "iam:GetInstanceProfile",
        "arn:{partition}:iam::{account}:role/{stack}-InstanceRole-1A2B3C4D5E6F": "iam:PassRole",
    },
    "AWS::EMR::SecurityConfiguration": {
        "*": "elasticmapreduce:CreateSecurityConfiguration elasticmapreduce:DescribeSecurityConfiguration "
        "elasticmapreduce:DeleteSecurityConfiguration",
    },
    "AWS::KMS::Key": {
        "*": "kms:CreateKey",
        "arn:{partition}:kms:{region}:{account}:key/00000000-0000-4000-8000-000000000000": "kms:TagResource "
        "kms:PutKeyPolicy kms:EnableKeyRotation kms:DescribeKey kms:ScheduleKeyDeletion",
    },
}
"""The same, with ClusterVpc."""

OF_INIT: dict[str, str] = {
    "arn:{partition}:cloudformation:{region}:{account}:stack/{stack}/00000000": "cloudformation:CreateStack "
    "cloudformation:DescribeStacks cloudformation:DescribeStackEvents cloudformation:DeleteStack",
    "arn:{partition}:s3:::{stack}-bucket-1a2b3c4d5e6f/artifacts/archives/one.tar.gz": "s3:GetObject s3:PutObject",
}
"""What `fruits emr init` calls itself; a trial run needs the stack's SubmitterPolicy, which it has just made."""

_SERVICE_ROLE = "AWSServiceRoleForAmazonEMRServerless"
_SERVICE_ROLE_ARN = (
    f"arn:{{partition}}:iam::{{account}}:role/aws-service-role/ops.emr-serverless.amazonaws.com/{_SERVICE_ROLE}"
)

ADMINISTRATOR = (
    "Making the stack takes an administrator once: have one run `fruits emr init`, or ask for these rights. Who runs "
    "`fruits` afterwards needs the stack's SubmitterPolicy alone."
)


@dataclass(frozen=True, slots=True)
class Right:
    """Actions on one resource, with what AWS puts into the context of such a request."""

    resource: str
    actions: tuple[str, ...]
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What IAM would decide on an action. `unknown`: keys of a condition that it was not told."""

    action: str
    allowed: bool
    organization: bool
    unknown: tuple[str, ...]


def rights_for(parameters: Mapping[str, str], stack: str, region: str, caller: str) -> Iterator[Right]:
    """Every right that making the stack with these parameters takes. `caller`: the ARN of who makes it."""
    names = {"partition": caller.split(":")[1], "account": caller.split(":")[4], "region": region}
    tables = [OF_INIT, *BY_TYPE.values()]
    if parameters.get("ApplicationVpc") or parameters.get("ClusterVpc"):
        tables += BY_TYPE_IN_A_NETWORK.values()
    if parameters.get("ClusterVpc"):
        tables += BY_TYPE_OF_CLUSTERS.values()
    for table in tables:
        for resource, actions in table.items():
            # CloudFormation names a bucket in small letters.
            name = stack.lower() if ":s3:" in resource else stack
            yield Right(resource.format(**names, stack=name), tuple(actions.split()))


def service_role_right(region: str, caller: str) -> Right:
    """What the first application of an account takes besides: EMR Serverless makes its role in the caller's name."""
    arn = _SERVICE_ROLE_ARN.format(partition=caller.split(":")[1], account=caller.split(":")[4], region=region)
    return Right(arn, ("iam:CreateServiceLinkedRole",), (("iam:AWSServiceName", "ops.emr-serverless.amazonaws.com"),))


def check_rights(aws: Aws, parameters: Mapping[str, str], stack: str, region: str) -> str:
    """A line about the caller's rights to make the stack.

    Raises InputError with the names of those that are missing. Where IAM cannot be asked the line says so: then the
    stack shows it.
    """
    try:
        caller = str(aws.call("sts", "get_caller_identity")["Arn"])
        principal = _principal(aws, caller)
        if principal is None:
            return f"rights: not checked, IAM cannot be asked about {caller.rsplit(':', 1)[-1]}"
        rights = list(rights_for(parameters, stack, region, caller))
        if _is_missing(aws, _SERVICE_ROLE):
            rights.append(service_role_right(region, caller))
        answers = [answer for right in rights for answer in _simulate(aws, principal, right, region)]
    except AwsCallError as error:
        if error.code in DENIED:
            return "rights: not checked, iam:SimulatePrincipalPolicy is not allowed"
        return f"rights: not checked, {error.code}: {error.detail}"
    except TransientError as error:
        return f"rights: not checked, {error.message}"
    missing = [answer for answer in answers if not answer.allowed and not answer.unknown]
    if missing:
        raise _missing(missing, principal)
    open_ = sorted({answer.action for answer in answers if not answer.allowed})
    if open_:
        keys = sorted({key for answer in answers if not answer.allowed for key in answer.unknown})
        return f"rights: {', '.join(open_)} may be missing, which depends on {', '.join(keys)}; all others are there"
    return f"rights: all {len({answer.action for answer in answers})} that the stack takes"


def _missing(answers: list[_Answer], principal: str) -> FruitsError:
    names = ", ".join(dict.fromkeys(answer.action for answer in answers))
    hint = ADVICE_ORGANIZATION if all(answer.organization for answer in answers) else ADMINISTRATOR
    who = principal.rsplit(":", 1)[-1]
    return InputError(f"{who} may not do what making the stack takes, and nothing was made: {names}", hint)


def _principal(aws: Aws, caller: str) -> str | None:
    """The user or role whose policies decide, as IAM takes it; None for what has none there, such as the root user.

    An assumed role is named without its path, which a role of IAM Identity Center has.
    """
    _, partition, _, _, account, resource = caller.split(":", 5)
    kind, _, name = resource.partition("/")
    if kind == "user":
        return f"arn:{partition}:iam::{account}:{resource}"
    if kind != "assumed-role":
        return None
    role = name.split("/")[0]
    try:
        return str(aws.call("iam", "get_role", RoleName=role)["Role"]["Arn"])
    except AwsCallError as error:
        if error.code not in DENIED:
            raise
        return f"arn:{partition}:iam::{account}:role/{role}"


def _is_missing(aws: Aws, role: str) -> bool:
    try:
        aws.call("iam", "get_role", RoleName=role)
    except AwsCallError as error:
        return error.code in MISSING  # where it may not be looked up, the stack shows it
    return False


def _simulate(aws: Aws, principal: str, right: Right, region: str) -> Iterator[_Answer]:
    context = {"aws:RequestedRegion": region, "aws:SecureTransport": "true", **dict(right.context)}
    results = aws.items(
        "iam",
        "simulate_principal_policy",
        PolicySourceArn=principal,
        ActionNames=list(right.actions),
        ResourceArns=[right.resource],
        ContextEntries=[
            {"ContextKeyName": key, "ContextKeyType": "string", "ContextKeyValues": [value]}
            for key, value in context.items()
        ],
    )
    for result in results:
        by_organization = result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True)
        keys = [*result.get("MissingContextValues", [])]
        for one in result.get("ResourceSpecificResults", []):
            keys += one.get("MissingContextValues", [])
        yield _Answer(
            result["EvalActionName"],
            result["EvalDecision"] == "allowed",
            not by_organization,
            tuple(dict.fromkeys(keys)),
        )
