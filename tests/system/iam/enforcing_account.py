"""An AWS account that enforces policies, the whole pipeline in it, and what a test asks of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[3]
MEDIA = ROOT / "tests" / "media"
REGION = "us-east-1"
INPUT, OUTPUT, TABLE = "input-bucket-video", "output-bucket-vid", "student_table"
INPUT_QUEUE, OUTPUT_QUEUE = "input-notification", "output-notification"
FUNCTION, ALIAS = "smart-classroom", "live"
FUNCTION_ROLE, POLLER_USER = "smart-classroom-function", "smart-classroom-poller"
ENCODINGS, GALLERY_KEY = "known-encodings", "everyone.json"

Permission = tuple[str, str]  # action, resource


def as_list(value: Any) -> list[str]:
    """An element of a policy, which may be one text or a list of texts."""
    return [value] if isinstance(value, str) else list(value)


def permissions(policy: dict[str, Any]) -> list[Permission]:
    """Every action on every resource that the policy allows, one by one."""
    return [
        (action, resource)
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]


def without(policy: dict[str, Any], removed: Permission) -> dict[str, Any]:
    """The policy with one permission less; what it denies stays."""
    denied = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
    allowed = [
        {"Effect": "Allow", "Action": action, "Resource": resource}
        for action, resource in permissions(policy)
        if (action, resource) != removed
    ]
    return {"Version": policy["Version"], "Statement": allowed + denied}


@dataclass
class Account:
    """The account as its owner sees it, and the pipeline that runs in it with the policies of the roles."""

    endpoint: str
    certificate: Path
    directory: Path

    def client(self, service: str, **credentials: str) -> Any:
        """A client of the account's owner, or of whoever the credentials belong to."""
        keys = credentials or {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(  # type: ignore[call-overload]  # its stubs want the name as a literal
            service, endpoint_url=self.endpoint, region_name=REGION, verify=str(self.certificate), **keys
        )

    @property
    def credentials_file(self) -> Path:
        """Where the role iam_roles keeps the poller's access key."""
        return self.directory / "poller-credentials"

    def poller_client(self, service: str) -> Any:
        """A client with the poller's own access key."""
        lines = self.credentials_file.read_text(encoding="ascii").splitlines()
        values = dict(line.split(" = ") for line in lines if " = " in line)
        return self.client(service, **values)

    def deploy(self) -> str:
        """Run the roles, with the values of the local environment, against this account; returns all that was said."""
        environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CA_BUNDLE": str(self.certificate),
        }
        values = {
            "smart_classroom_aws_endpoint_url": self.endpoint,
            "smart_classroom_state_dir": str(self.directory),
            # Another account than the emulator's: the roles ask whose it is.
            "smart_classroom_aws_account": "",
            "smart_classroom_aws_environment": environment,
            "iam_roles_poller_access_key": True,
            # Enough that no video becomes a dead letter while its permission is away.
            "sqs_queues_max_receive_count": 10,
            "iam_roles_poller_credentials_file": str(self.credentials_file),
        }
        done = subprocess.run(
            [
                "ansible-playbook",
                "-vvv",
                "-i",
                "inventory/local",
                "tests/system/iam/deploy.yml",
                "-e",
                json.dumps(values),
            ],
            cwd=ROOT,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def queue_url(self, name: str) -> str:
        """URL of a queue."""
        return str(self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    def depth(self, name: str) -> int:
        """Messages in a queue, those in flight included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=self.queue_url(name), AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def policy(self, principal: str) -> dict[str, Any]:
        """The policy of the ``function`` or the ``poller`` as the account holds it."""
        iam = self.client("iam")
        if principal == "function":
            found = iam.get_role_policy(RoleName=FUNCTION_ROLE, PolicyName=FUNCTION_ROLE)
        else:
            found = iam.get_user_policy(UserName=POLLER_USER, PolicyName=POLLER_USER)
        document: dict[str, Any] = found["PolicyDocument"]
        return document

    def set_policy(self, principal: str, policy: dict[str, Any]) -> None:
        """Replace that policy."""
        iam, text = self.client("iam"), json.dumps(policy)
        if principal == "function":
            iam.put_role_policy(RoleName=FUNCTION_ROLE, PolicyName=FUNCTION_ROLE, PolicyDocument=text)
        else:
            iam.put_user_policy(UserName=POLLER_USER, PolicyName=POLLER_USER, PolicyDocument=text)

    def upload(self, key: str, clip: str = "joe-biden-360p.mp4") -> None:
        """Put a sample clip into the input bucket; S3 announces it."""
        self.client("s3").put_object(Bucket=INPUT, Key=key, Body=(MEDIA / clip).read_bytes())

    def send(self, queue: str, body: str) -> None:
        """Put a message into a queue."""
        self.client("sqs").send_message(QueueUrl=self.queue_url(queue), MessageBody=body)

    def idle(self) -> bool:
        """No message is in either queue."""
        return self.depth(INPUT_QUEUE) == 0 and self.depth(OUTPUT_QUEUE) == 0

    def results(self, key: str) -> list[str]:
        """The video's tables on the poller's disk."""
        files = (self.directory / "state" / "results").glob(f"{key.removesuffix('.mp4')}-*.csv")
        return [file.read_text(encoding="utf-8") for file in files]

    def stored(self, key: str) -> bool:
        """The poller has the student's row on its disk."""
        return any("Joe Biden" in table for table in self.results(key))

    def publish_gallery(self) -> None:
        """Put the known encodings where the function reads them."""
        gallery = (self.directory / "gallery.json").read_bytes()
        self.client("s3").put_object(Bucket=ENCODINGS, Key=GALLERY_KEY, Body=gallery)

    def log(self) -> str:
        """Everything that the poller and the function have said."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{FUNCTION}")
        said = "\n".join(event["message"] for page in pages for event in page["events"])
        return (self.directory / "poller.log").read_text(encoding="utf-8") + said

    def call_as_function(self, service: str, operation: str, parameters: dict[str, Any]) -> str:
        """Make a call with the function's role; returns the code of the refusal, empty without one."""
        payload = json.dumps({"service": service, "operation": operation, "parameters": parameters}).encode()
        answer = self.client("lambda").invoke(FunctionName="probe", Payload=payload)
        assert "FunctionError" not in answer, answer["Payload"].read()
        return str(json.loads(answer["Payload"].read()))
