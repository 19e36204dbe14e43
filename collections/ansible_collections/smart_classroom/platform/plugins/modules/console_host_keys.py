#!/usr/bin/python
"""Ansible module: the SSH host keys that a server has written on its console (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: console_host_keys
short_description: Read a server's SSH host keys from its console
description:
  - The console is the one channel to a new server that nobody on the network can forge. cloud-init writes the host keys
    there, and the cloud's API shows them to whoever may ask, so even the first connection is checked.
  - Waits until a complete block of keys is there. Changes nothing.
  - No collection has a module for a console; nearest are C(openstack.cloud.server_info) and
    C(amazon.aws.ec2_instance_info).
options:
  source:
    description: V(nova) asks OpenStack, V(ec2) asks AWS as the environment's C(AWS_*) variables say.
    type: str
    choices: [nova, ec2]
    required: true
  id:
    description: Id of the server or instance.
    type: str
    required: true
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud. Required for O(source=nova).
    type: path
  cloud:
    description: Name of the cloud in it. Required for O(source=nova).
    type: str
  timeout_seconds:
    description: How long to wait for the keys. With V(0) the console is read once.
    type: int
    default: 300
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Read the host keys of a server
  smart_classroom.platform.console_host_keys:
    source: nova
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    id: 1f6f9e0c-5cf1-4a5c-9b59-0d7a2a9a8a11
"""

RETURN = r"""
host_keys:
  description: The keys, C(<kind> <base64>), of the last complete block; empty when there was none in time.
  type: list
  elements: str
  returned: always
tail:
  description: The last lines of the console.
  type: list
  elements: str
  returned: always
"""

import base64
import binascii
import re
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client

KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"\b(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})")
API_TIMEOUT_SECONDS = 60
POLL_SECONDS = 1.0
TAIL_LINES = 15


def is_key(kind: str, encoded: str) -> bool:
    """Whether ``encoded`` is a public key of that kind; a line of a console may be cut or mixed with another."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    return blob[4 : 4 + len(kind)] == kind.encode() and blob[:4] == len(kind).to_bytes(4, "big") and len(blob) > 48


def host_keys(console: str) -> list[str]:
    """Host keys, ``<kind> <base64>``, from the last complete block in a console log; [] without one."""
    blocks = KEYS.findall(console)
    text = blocks[-1] if blocks else ""
    return sorted({f"{kind} {encoded}" for kind, encoded in KEY.findall(text) if is_key(kind, encoded)})


def nova_console(clouds_file: str, cloud: str, server_id: str) -> Callable[[], str]:
    """What reads the console of a Nova server."""
    import openstack.config
    import openstack.connection

    configuration = openstack.config.OpenStackConfig(config_files=[clouds_file])
    region = configuration.get_one(cloud, api_timeout=API_TIMEOUT_SECONDS)
    compute = openstack.connection.Connection(config=region).compute
    return lambda: str(compute.get_server_console_output(server_id).get("output") or "")


def ec2_console(instance_id: str) -> Callable[[], str]:
    """What reads the console of an EC2 instance."""
    client = aws_client("ec2")
    return lambda: str(client.get_console_output(InstanceId=instance_id, Latest=True).get("Output") or "")


def wait_for_keys(read: Callable[[], str], timeout_seconds: float) -> dict[str, Any]:
    """What the module returns, once there are keys or the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        console = read().replace("\r", "")
        found = host_keys(console)
        if found or time.monotonic() >= deadline:
            return {"host_keys": found, "tail": console.strip().splitlines()[-TAIL_LINES:]}
        time.sleep(POLL_SECONDS)


def errors(source: str) -> tuple[type[Exception], ...]:
    """The exceptions that asking may end with."""
    if source == "ec2":
        return tuple(AWS_ERRORS)
    import keystoneauth1.exceptions
    import openstack.exceptions

    return (openstack.exceptions.SDKException, keystoneauth1.exceptions.ClientException)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "choices": ["nova", "ec2"], "required": True},
            "id": {"type": "str", "required": True},
            "clouds_file": {"type": "path"},
            "cloud": {"type": "str"},
            "timeout_seconds": {"type": "int", "default": 300},
        },
        required_if=[("source", "nova", ["clouds_file", "cloud"])],
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        read = (
            nova_console(wanted["clouds_file"], wanted["cloud"], wanted["id"])
            if wanted["source"] == "nova"
            else ec2_console(wanted["id"])
        )
        module.exit_json(changed=False, **wait_for_keys(read, wanted["timeout_seconds"]))
    except errors(wanted["source"]) as error:
        module.fail_json(msg=f"The console of {wanted['id']} cannot be read: {error}")


if __name__ == "__main__":
    main()
