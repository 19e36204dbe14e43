#!/usr/bin/python
"""Ansible module: an image of this machine's container engine in a repository of ECR."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_image_push
short_description: Push an image of the container engine to a repository, unless its tag is there
description:
  - The tag of the image is a hash of its content, so an image whose tag is in the repository is not pushed again.
  - skopeo pushes with a token of ECR from a file that only this user can read and that is removed afterwards.
options:
  image:
    description: The image, with the tag that it gets in the repository.
    type: str
    required: true
  layout:
    description: >-
      Directory of the image as an OCI layout. If empty, the image is one of the container engine.
    type: str
    default: ""
  repository:
    description: Name of the repository.
    type: str
    required: true
  registry:
    description: Host and port of the registry. That of the repository's address if empty.
    type: str
    default: ""
  tls_verify:
    description: Whether the registry has to prove who it is by a certificate.
    type: bool
    default: true
  timeout_seconds:
    description: How long the push may take.
    type: int
    default: 600
notes:
  - >-
    Nearest: M(community.docker.docker_image_push). It has no check mode and pushes no OCI layout, and no
    module gets a token of ECR.
  - >-
    Can go: perhaps for C(skopeo) with Debian's C(amazon-ecr-credential-helper); untried with the emulator's
    registry.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Push the image
  smart_classroom.platform.lambda_image_push:
    image: smart-classroom/function:0123456789abcdef
    repository: smart-classroom
"""

RETURN = r"""
tag:
  description: The image's tag.
  type: str
  returned: success
digest:
  description: Digest of the image in the repository; empty in check mode when it would be pushed.
  type: str
  returned: success
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)


class PushError(Exception):
    """The image cannot be pushed; the message says why and what mends it."""


class NoRepositoryError(PushError):
    """There is no such repository."""


@dataclass(frozen=True)
class Target:
    """Where an image goes."""

    repository: str
    tag: str
    registry: str = ""


def pushed_digest(ecr: Any, target: Target) -> str | None:
    """Returns the digest of the tag in the repository, or nothing. Raises NoRepositoryError without a repository."""
    try:
        found = ecr.describe_images(repositoryName=target.repository, imageIds=[{"imageTag": target.tag}])
    except AWS_ERRORS as error:
        code = error_code(error) if isinstance(error, ClientError) else ""
        if code == "ImageNotFoundException":
            return None
        if code == "RepositoryNotFoundException":
            raise NoRepositoryError(
                f"There is no repository {target.repository}. Make it: ansible-playbook playbooks/deploy-aws.yml"
            ) from error
        raise PushError(
            f"ECR does not answer: {error}. Does the endpoint answer, and are there credentials?"
        ) from error
    details = found.get("imageDetails", [])
    return str(details[0]["imageDigest"]) if details else None


def registry_host(ecr: Any, target: Target) -> str:
    """Returns host and port of the registry that holds the repository."""
    if target.registry:
        return target.registry
    found = ecr.describe_repositories(repositoryNames=[target.repository])
    return str(found["repositories"][0]["repositoryUri"]).split("/", 1)[0]


def write_credentials(ecr: Any, registry: str, path: Path) -> None:
    """Writes a token for the registry where skopeo reads it; only this user can open the file."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    path.touch(mode=0o600)
    path.write_text(json.dumps({"auths": {registry: {"auth": token}}}))


def push(module: AnsibleModule, ecr: Any, image: str, target: Target, tls_verify: bool, timeout_seconds: int) -> None:
    """Copies the image, in skopeo's terms, to the repository. Raises PushError with skopeo's words."""
    registry = registry_host(ecr, target)
    with tempfile.TemporaryDirectory(dir=module.tmpdir) as directory:
        credentials = Path(directory) / "auth.json"
        write_credentials(ecr, registry, credentials)
        command = ["timeout", str(timeout_seconds), module.get_bin_path("skopeo", required=True)]
        command += ["copy", "--quiet", "--authfile", str(credentials), f"--dest-tls-verify={str(tls_verify).lower()}"]
        command += [image, f"docker://{registry}/{target.repository}:{target.tag}"]
        code, output, errors = module.run_command(command)
    if code == 124:
        raise PushError(
            f"The push of {image} to {registry} took longer than {timeout_seconds} s. Run the playbook again."
        )
    if code:
        raise PushError(
            f"The push of {image} to {registry} failed: {(errors or output).strip()[-1000:]}. "
            "A registry that does not answer is the usual cause; the playbook can be run again."
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "layout": {"type": "str", "default": ""},
            "repository": {"type": "str", "required": True},
            "registry": {"type": "str", "default": ""},
            "tls_verify": {"type": "bool", "default": True},
            "timeout_seconds": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    options = module.params
    target = Target(options["repository"], options["image"].rsplit(":", 1)[1], options["registry"])
    try:
        ecr = aws_client("ecr")
        try:
            digest = pushed_digest(ecr, target)
        except NoRepositoryError:
            # A check before the first run finds no repository yet; the run will make it before this.
            if not module.check_mode:
                raise
            digest = None
        changed = digest is None
        if changed and not module.check_mode:
            source = f"oci:{options['layout']}" if options["layout"] else f"docker-daemon:{options['image']}"
            push(module, ecr, source, target, options["tls_verify"], options["timeout_seconds"])
            digest = pushed_digest(ecr, target)
            if digest is None:
                raise PushError(
                    f"The repository {target.repository} took the image but does not know its tag {target.tag}."
                )
    except (PushError, *AWS_ERRORS) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, tag=target.tag, digest=digest or "")


if __name__ == "__main__":
    main()
