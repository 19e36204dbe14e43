#!/usr/bin/python
"""Ansible module: everything that an AWS account lacks for an environment, in one list, before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_prerequisites
short_description: List everything that an AWS account lacks for an environment
description:
  - Only asks. A question that AWS does not let these credentials ask is listed as unanswered, not as a problem.
options:
  region:
    description: Region of the environment.
    type: str
    required: true
  account:
    description: The account that the environment belongs to; any if empty.
    type: str
    default: ''
  tags:
    description: Tags of the environment. What carries C(project) and C(environment) is its own.
    type: dict
    required: true
  buckets:
    description: Names of the buckets. C({account}) in a name stands for the account's number.
    type: list
    elements: str
    default: []
  instance_type:
    description: Type of the instance; nothing is asked about instances if empty.
    type: str
    default: ''
  zone:
    description: Availability zone of the instance; any that offers the type if empty.
    type: str
    default: ''
  function_concurrency:
    description: How many invocations of the function must be able to run at once.
    type: int
    default: 10
  actions:
    description: The IAM actions that the deployment performs.
    type: list
    elements: str
    default: []
  lifetime_minutes:
    description: How long the credentials must still be valid.
    type: int
    default: 90
notes:
  - >-
    Nearest: M(amazon.aws.aws_caller_info), M(amazon.aws.s3_bucket_info) and others for three of ten
    questions. No module asks for quotas, simulates policies, or knows when credentials end.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Ask AWS
  smart_classroom.platform.aws_prerequisites:
    region: us-east-1
    tags: {project: smart-classroom, environment: dev}
    buckets: ["smart-classroom-dev-input-video-{account}"]
    instance_type: m8i.xlarge
"""

RETURN = r"""
problems:
  description: One sentence for each thing that is missing, with its fix.
  type: list
  elements: str
  returned: always
answers:
  description: What is as it should be.
  type: list
  elements: str
  returned: always
unanswered:
  description: What could not be asked, and why.
  type: list
  elements: str
  returned: always
"""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import aws_client, error_code, pages
from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_room import Room

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
INVALID = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"}
LOG_IN = "log in again (aws sso login, or new keys in the environment), then run this again"
ACTIONS_A_CALL = 100  # SimulatePrincipalPolicy takes no more


class Questions(Room):
    """What is asked of AWS, and the answers so far."""

    def __init__(self, parameters: dict[str, Any], make_client: Callable[[str], Any]) -> None:
        super().__init__(parameters, make_client)
        self.account = ""
        self.arn = ""

    def credentials(self) -> bool:
        """Whose they are; False when nothing else can be asked."""
        try:
            caller = self.client("sts").get_caller_identity()
        except NoCredentialsError:
            self.problems.append(
                "no AWS credentials are found: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE "
                "and run aws sso login"
            )
        except ClientError as error:
            code = error_code(error)
            if code in EXPIRED:
                self.problems.append(f"the AWS credentials have expired: {LOG_IN}")
            elif code in INVALID:
                self.problems.append(
                    f"AWS does not know the credentials ({code}): they are deleted or mistyped, {LOG_IN}"
                )
            else:
                self.problems.append(f"AWS refuses the credentials ({error}): {LOG_IN}")
        except EndpointConnectionError as error:
            self.problems.append(
                f"AWS does not answer ({error}): check the network, and that smart_classroom_region is a region of AWS"
            )
        except BotoCoreError as error:
            self.problems.append(f"the AWS credentials cannot be used ({error}): {LOG_IN}")
        else:
            self.account, self.arn = str(caller["Account"]), str(caller["Arn"])
            self.answers.append(f"account {self.account}, as {self.arn.rsplit(':', 1)[-1]}")
            return True
        return False

    def owner(self) -> None:
        """That the account is the one that is meant."""
        if self.wanted["account"] not in ("", self.account):
            self.problems.append(
                f"the credentials belong to the account {self.account}, the environment to {self.wanted['account']}: "
                "use the other credentials (AWS_PROFILE), or set smart_classroom_aws_expected_account"
            )
        if self.arn.endswith(":root"):
            self.answers.append("these are the keys of the account's root user: a user or role of its own is safer")

    def lifetime(self, now: datetime, expires: datetime | None, renews: bool) -> None:
        """That the credentials live long enough."""
        if expires is None:
            self.answers.append("the credentials have no end, or one that they do not tell")
            return
        minutes = int((expires - now).total_seconds() // 60)
        if renews:
            self.answers.append(f"the credentials renew themselves, next in {minutes} min")
        elif minutes < self.wanted["lifetime_minutes"]:
            self.problems.append(
                f"the credentials end in {minutes} min, a deployment may take "
                f"{self.wanted['lifetime_minutes']}: {LOG_IN}"
            )
        else:
            self.answers.append(f"the credentials are good for {minutes} min")

    def region(self) -> None:
        """That the account may use the region."""
        region = self.wanted["region"]
        regions = {
            item["RegionName"]: item.get("OptInStatus", "opt-in-not-required")
            for item in self.client("ec2").describe_regions(AllRegions=True)["Regions"]
        }
        if region not in regions:
            self.problems.append(
                f"there is no region {region}: set smart_classroom_region to one of {', '.join(regions)}"
            )
        elif regions[region] == "not-opted-in":
            self.problems.append(
                f"the account has not enabled the region {region}: aws account enable-region --region-name {region}"
            )
        else:
            self.answers.append(f"region {region}")

    def bucket(self, pattern: str) -> None:
        """That a bucket's name is free, or the bucket the environment's own."""
        name, s3 = pattern.replace("{account}", self.account), self.client("s3")
        fix = "set another smart_classroom_name, or another name in the inventory's s3_buckets.yml"
        try:
            s3.head_bucket(Bucket=name)
        except ClientError as error:
            code = error_code(error)
            if code in ("404", "NoSuchBucket"):
                self.answers.append(f"the name {name} is free")
            elif code in ("403", "301", "AccessDenied", "PermanentRedirect"):
                self.problems.append(f"the name {name} of a bucket is taken by another account or region: {fix}")
            else:
                raise
            return
        try:
            tags = s3.get_bucket_tagging(Bucket=name)["TagSet"]
        except ClientError as error:
            if error_code(error) != "NoSuchTagSet":
                raise
            tags = []
        if self.is_ours(tags):
            self.answers.append(f"the bucket {name} is there already")
        else:
            self.problems.append(
                f"the bucket {name} is there, but without this environment's tags: {fix}, or remove it"
            )

    def principal(self) -> str:
        """The user or role whose policies decide, for the simulation."""
        if match := re.fullmatch(r"arn:[^:]+:sts::\d+:assumed-role/([^/]+)/.+", self.arn):
            return str(self.client("iam").get_role(RoleName=match[1])["Role"]["Arn"])
        return self.arn

    def permissions(self) -> None:
        """That the policies allow every action."""
        actions = self.wanted["actions"]
        if self.arn.endswith(":root"):
            self.answers.append("the root user may do everything")
            return
        iam, principal = self.client("iam"), self.principal()
        denied = []
        for first in range(0, len(actions), ACTIONS_A_CALL):
            asked = {"PolicySourceArn": principal, "ActionNames": actions[first : first + ACTIONS_A_CALL]}
            answers = pages(iam, "simulate_principal_policy", "EvaluationResults", **asked)
            denied += [answer["EvalActionName"] for answer in answers if answer["EvalDecision"] != "allowed"]
        if denied:
            self.problems.append(
                f"{principal.rsplit(':', 1)[-1]} lacks the permissions {', '.join(sorted(denied))}: add them to one of "
                "its policies (playbooks/files/deployment-policy.json has all of them)"
            )
        else:
            self.answers.append(f"{len(actions)} permissions")


def expiry(environment: dict[str, str]) -> tuple[datetime | None, bool]:
    """When the credentials end, None when that is not known, and whether they are renewed without a person."""
    import boto3

    if told := environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return datetime.fromisoformat(told.replace("Z", "+00:00")), False
    credentials = boto3.Session().get_credentials()
    moment = getattr(credentials, "_expiry_time", None)
    return (moment, True) if isinstance(moment, datetime) else (None, False)


def run(
    parameters: dict[str, Any],
    make_client: Callable[[str], Any],
    lifetime: tuple[datetime | None, bool],
    now: datetime,
) -> dict[str, Any]:
    """See the module's documentation. One thing that is wrong never hides another."""
    asked = Questions(parameters, make_client)
    if asked.credentials():
        asked.owner()
        asked.lifetime(now, *lifetime)
        asked.ask("the regions", asked.region)
        if parameters["instance_type"]:
            asked.ask(f"where {parameters['instance_type']} is offered", asked.offer)
            asked.ask("the quota of vCPUs", asked.vcpus)
            asked.ask("the quota of Elastic IPs", asked.addresses)
            asked.ask("the quota of VPCs", asked.networks)
        asked.ask("the limit of invocations at once", asked.concurrency)
        for name in parameters["buckets"]:
            asked.ask(f"whether the bucket {name} can be made", partial(asked.bucket, name))
        asked.ask("the permissions", asked.permissions)
    return {
        "changed": False,
        "problems": asked.problems,
        "answers": asked.answers,
        "unanswered": asked.unanswered,
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "region": {"type": "str", "required": True},
            "account": {"type": "str", "default": ""},
            "tags": {"type": "dict", "required": True},
            "buckets": {"type": "list", "elements": "str", "default": []},
            "instance_type": {"type": "str", "default": ""},
            "zone": {"type": "str", "default": ""},
            "function_concurrency": {"type": "int", "default": 10},
            "actions": {"type": "list", "elements": "str", "default": []},
            "lifetime_minutes": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    os.environ.setdefault("AWS_DEFAULT_REGION", module.params["region"])
    try:
        lifetime = expiry(dict(os.environ))
    except (BotoCoreError, ValueError):
        lifetime = (None, False)  # the first question says what is wrong with the credentials
    module.exit_json(**run(module.params, aws_client, lifetime, datetime.now(UTC)))


if __name__ == "__main__":
    main()
