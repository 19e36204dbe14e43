#!/usr/bin/python
"""Ansible module: an S3 bucket that is closed to the public, encrypted and answers over TLS only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_bucket
short_description: Make an S3 bucket that is closed to the public, encrypted and answers over TLS only
description:
  - Public access is blocked in all four ways, access lists are switched off, objects are encrypted, and the bucket's
    policy denies every request that does not use TLS. What an upload that was never finished has left goes after a day.
  - Unlike C(amazon.aws.s3_bucket), which skips itself in check mode, this says in check mode what differs.
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  versioning:
    description: Whether overwritten and deleted objects are kept as versions.
    type: bool
    default: false
  expiration_days:
    description: After how many days an object is removed. V(0) keeps it.
    type: int
    default: 0
  noncurrent_days:
    description: After how many days a version is removed that was overwritten or deleted. Only with O(versioning).
    type: int
    default: 30
  tags:
    description: Tags of the bucket. Other tags are kept.
    type: dict
    default: {}
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the bucket of the videos
  smart_classroom.platform.aws_bucket:
    name: input-bucket-video
    tags: {project: smart-classroom}
"""

RETURN = r"""
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# What S3 answers for something that was never set.
ABSENT = {
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchBucketPolicy",
    "NoSuchTagSet",
    "NoSuchLifecycleConfiguration",
}
# An upload in parts that nobody finishes is invisible, and paid for.
UNFINISHED_DAYS = 1
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Aspect:
    """One property of a bucket: what it is called, whether it is as it should be, and how to set it."""

    name: str
    is_right: Callable[[], bool]
    put: Callable[[], Any]


def tls_policy(bucket: str) -> dict[str, Any]:
    """A bucket policy that denies every request without TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def read(call: Callable[..., dict[str, Any]], bucket: str) -> dict[str, Any]:
    """The answer of a ``get_bucket_...`` call, empty when the thing was never set.

    Raises:
        ClientError: any other refusal.
    """
    try:
        return call(Bucket=bucket)
    except ClientError as error:
        if error_code(error) in ABSENT:
            return {}
        raise


def first_rule(answer: dict[str, Any], configuration: str) -> dict[str, Any]:
    """The first of the rules in an answer, empty when there is none."""
    rules: list[dict[str, Any]] = answer.get(configuration, {}).get("Rules", [])
    return rules[0] if rules else {}


def lifecycle_rules(expiration_days: int, noncurrent_days: int, versioning: bool) -> list[dict[str, Any]]:
    """What S3 removes by itself."""
    actions: dict[str, dict[str, Any]] = {
        "unfinished-uploads": {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS}}
    }
    if expiration_days:
        actions["objects"] = {"Expiration": {"Days": expiration_days}}
    if versioning and noncurrent_days:
        actions["earlier-versions"] = {"NoncurrentVersionExpiration": {"NoncurrentDays": noncurrent_days}}
    return [{"ID": name, "Status": "Enabled", "Filter": {"Prefix": ""}, **action} for name, action in actions.items()]


def comparable(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules in one form and order. A filter that admits everything comes back in several forms."""
    everything: list[Any] = [None, {}, {"Prefix": ""}]
    kept = [
        {key: value for key, value in rule.items() if key not in ("Filter", "Prefix") or value not in [*everything, ""]}
        for rule in rules
    ]
    return sorted(kept, key=lambda rule: str(rule.get("ID")))


def aspects(s3: Any, bucket: str, parameters: dict[str, Any], tags: dict[str, str]) -> list[Aspect]:
    """Every property that the module sets."""
    versioning = parameters["versioning"]
    lifecycle = lifecycle_rules(parameters["expiration_days"], parameters["noncurrent_days"], versioning)

    def algorithm() -> Any:
        rule = first_rule(read(s3.get_bucket_encryption, bucket), "ServerSideEncryptionConfiguration")
        return rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm")

    def current_tags() -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in read(s3.get_bucket_tagging, bucket).get("TagSet", [])}

    def put_tags() -> None:
        merged = current_tags() | tags
        s3.put_bucket_tagging(
            Bucket=bucket, Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in merged.items()]}
        )

    return [
        Aspect(
            "public access",
            lambda: read(s3.get_public_access_block, bucket).get("PublicAccessBlockConfiguration") == CLOSED,
            lambda: s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=CLOSED),
        ),
        Aspect(
            "object ownership",
            lambda: (
                first_rule(read(s3.get_bucket_ownership_controls, bucket), "OwnershipControls").get("ObjectOwnership")
                == "BucketOwnerEnforced"
            ),
            lambda: s3.put_bucket_ownership_controls(
                Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            ),
        ),
        Aspect(
            "encryption",
            lambda: algorithm() == "AES256",
            lambda: s3.put_bucket_encryption(
                Bucket=bucket,
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
            ),
        ),
        Aspect(
            "policy",
            lambda: json.loads(read(s3.get_bucket_policy, bucket).get("Policy", "null")) == tls_policy(bucket),
            lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(tls_policy(bucket))),
        ),
        Aspect(
            "versioning",
            lambda: (read(s3.get_bucket_versioning, bucket).get("Status") == "Enabled") == versioning,
            lambda: s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled" if versioning else "Suspended"}
            ),
        ),
        Aspect(
            "lifecycle",
            lambda: (
                comparable(read(s3.get_bucket_lifecycle_configuration, bucket).get("Rules", []))
                == comparable(lifecycle)
            ),
            lambda: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": lifecycle}),
        ),
        Aspect("tags", lambda: tags.items() <= current_tags().items(), put_tags),
    ]


def exists(s3: Any, bucket: str) -> bool:
    """Whether there is such a bucket.

    Raises:
        ClientError: there is one, of somebody else.
    """
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def create(s3: Any, bucket: str) -> None:
    """Create the bucket in the client's region, which S3 wants to be named unless it is the oldest."""
    region = s3.meta.region_name
    location = {} if region == DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **location)


def run(s3: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the bucket to what ``parameters`` say.

    Raises:
        ClientError: the name belongs to somebody else, or S3 refuses.
    """
    bucket = parameters["name"]
    tags = {str(key): str(value) for key, value in parameters["tags"].items()}
    differences = []
    if not exists(s3, bucket):
        if check_mode:
            return {"changed": True, "differences": ["bucket"]}
        create(s3, bucket)
        differences.append("bucket")
    for aspect in aspects(s3, bucket, parameters, tags):
        if not aspect.is_right():
            differences.append(aspect.name)
            if not check_mode:
                aspect.put()
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "versioning": {"type": "bool", "default": False},
            "expiration_days": {"type": "int", "default": 0},
            "noncurrent_days": {"type": "int", "default": 30},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("s3"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The bucket {module.params['name']} could not be made: {error}. Names of buckets are shared by all "
            "AWS accounts: if this one is taken, set another in the file s3_buckets.yml of the inventory."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
