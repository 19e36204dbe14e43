#!/usr/bin/python
"""Ansible module: one Glance image that holds exactly the content of one file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: glance_image_file
short_description: Keep a Glance image equal to a file
description:
  - Uploads the file when there is no active image of that name with the file's content, and removes the images of that
    name that it replaces, half-uploaded ones too. Properties and tags are corrected in place.
options:
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud.
    type: path
    required: true
  cloud:
    description: Name of the cloud in it.
    type: str
    required: true
  name:
    description: Name of the image.
    type: str
    required: true
  state:
    description: Whether the image is there.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The file. Required for O(state=present).
    type: path
  disk_format:
    description: Format of the file.
    type: str
    default: qcow2
  properties:
    description: Properties of the image, such as C(os_distro).
    type: dict
    default: {}
  tags:
    description: Tags of the image, C(key=value).
    type: list
    elements: str
    default: []
  timeout_seconds:
    description: How long the upload may take.
    type: int
    default: 600
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Keep the image of the servers
  smart_classroom.platform.glance_image_file:
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    name: centos
    path: .cache/guest.qcow2
    properties: {os_distro: debian}
"""

RETURN = r"""
id:
  description: The image's id.
  type: str
  returned: when it is there
replaced:
  description: Ids of the images that were removed.
  type: list
  returned: always
"""

import hashlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import (
    CLOUD_ARGUMENTS,
    CloudError,
    cloud_errors,
    connect,
)


def sha512(path: Path) -> str:
    """Checksum of a file, as Glance states it in ``os_hash_value``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def differing(image: Any, properties: dict[str, str], tags: list[str]) -> dict[str, Any]:
    """What has to be set on ``image``, ready for ``update_image``. Properties that others set stay."""
    actual = image.to_dict()
    extra = actual.get("properties") or {}
    changes: dict[str, Any] = {
        key: value for key, value in properties.items() if extra.get(key, actual.get(key)) != value
    }
    if sorted(image.tags or []) != sorted(tags):
        changes["tags"] = sorted(tags)
    return changes


def run(connection: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the image to what ``parameters`` say.

    Raises:
        CloudError: the file is missing.
        SDKException: the cloud refuses.
    """
    name = parameters["name"]
    images = list(connection.image.images(name=name))
    if parameters["state"] == "absent":
        if not check_mode:
            for image in images:
                connection.image.delete_image(image, ignore_missing=True)
        return {"changed": bool(images), "replaced": [image.id for image in images]}

    path = Path(parameters["path"])
    if not path.is_file() and check_mode:
        return {"changed": True, "replaced": []}
    if not path.is_file():
        raise CloudError(f"There is no image file {path}")
    properties = {key: str(value) for key, value in parameters["properties"].items()}
    checksum = sha512(path)
    kept = next((image for image in images if image.status == "active" and image.hash_value == checksum), None)
    others = [image for image in images if kept is None or image.id != kept.id]
    changes = differing(kept, properties, parameters["tags"]) if kept else {}
    changed = kept is None or bool(others) or bool(changes)
    if not check_mode:
        if kept is None:
            kept = connection.image.create_image(
                name,
                filename=str(path),
                disk_format=parameters["disk_format"],
                container_format="bare",
                visibility="private",
                allow_duplicates=True,
                timeout=parameters["timeout_seconds"],
                tags=sorted(parameters["tags"]),
                # Glance computes its own checksum, which is what is compared; the client's would be a second pass.
                md5="",
                sha256="",
                **properties,
            )
        elif changes:
            connection.image.update_image(kept, **changes)
        for image in others:
            connection.image.delete_image(image, ignore_missing=True)
    result: dict[str, Any] = {"changed": changed, "replaced": [image.id for image in others]}
    return {**result, "id": kept.id} if kept else result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            **CLOUD_ARGUMENTS,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path"},
            "disk_format": {"type": "str", "default": "qcow2"},
            "properties": {"type": "dict", "default": {}},
            "tags": {"type": "list", "elements": "str", "default": []},
            "timeout_seconds": {"type": "int", "default": 600},
        },
        required_if=[("state", "present", ["path"])],
        supports_check_mode=True,
    )
    try:
        connection = connect(module.params["clouds_file"], module.params["cloud"])
        result = run(connection, module.params, module.check_mode)
    except cloud_errors() as error:
        module.fail_json(
            msg=f"The Glance image '{module.params['name']}' could not be brought to its state: {error}. "
            "Check that the cloud answers (make status), then run the same command again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
