"""The account's own limit on EMR Serverless: a job that asks for more fails minutes after it has started."""

from __future__ import annotations

from engines.core.errors import TransientError
from engines.emr.calls import DENIED, MISSING, Aws, AwsCallError
from engines.emr.sizing import Limit

VCPU_QUOTA = "L-D05C8A75"
"""Code of the quota "Max concurrent vCPUs per account" of emr-serverless. New accounts may have no more than 16."""

RAISE_QUOTA = (
    f'Ask for more: Service Quotas, EMR Serverless, "Max concurrent vCPUs per account" ({VCPU_QUOTA}); '
    "or choose smaller workers."
)


def account_limit(aws: Aws, region: str) -> tuple[Limit | None, str]:
    """The limit on the vCPUs of all jobs of the account, and a line about it.

    The limit is None when it cannot be read, which the line says: the quota only makes a job smaller, and AWS keeps it.
    """
    try:
        # `once`: a network without an endpoint for Service Quotas is no reason to wait.
        answer = aws.call(
            "service-quotas", "get_service_quota", once=True, ServiceCode="emr-serverless", QuotaCode=VCPU_QUOTA
        )
    except AwsCallError as error:
        reason = error.code
        if error.code in DENIED:
            reason = "servicequotas:GetServiceQuota is not allowed"
        elif error.code in MISSING:
            reason = "the account has no value for it"
        return None, f"quota of vCPUs: not checked, {reason}"
    except TransientError as error:
        return None, f"quota of vCPUs: not checked, {error.message}"
    vcpus = float(answer["Quota"]["Value"])
    limit = Limit(f"the quota of EMR Serverless in {region}", vcpus, None, RAISE_QUOTA)
    return limit, f"quota: {vcpus:g} vCPU for all jobs of the account in {region}"
