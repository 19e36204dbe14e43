#!/usr/bin/python
"""Ansible module: the checksum of a file as its publisher's list states it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: published_checksum
short_description: Read the checksum of a published file from its publisher's list
description:
  - Reads the list over the network and finds the line of the file. Both forms are understood, C(SHA256 (file) = hex)
    and C(hex  file). The strongest of several checksums is taken.
options:
  list_url:
    description: Address of the list, such as C(.../CHECKSUM) or C(.../SHA256SUMS).
    type: str
    required: true
  file:
    description: Name of the file in the list.
    type: str
    required: true
  timeout_seconds:
    description: How long the publisher may take.
    type: int
    default: 30
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Read the checksum of the image
  smart_classroom.platform.published_checksum:
    list_url: https://images.example/10-stream/CHECKSUM
    file: CentOS-Stream-GenericCloud-10-latest.x86_64.qcow2
"""

RETURN = r"""
checksum:
  description: The checksum, C(sha256:<hex>) or C(sha512:<hex>).
  type: str
  returned: success
"""

import re
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DIGITS = {64: "sha256", 128: "sha512"}
MAX_BYTES = 1_000_000


class ChecksumError(Exception):
    """The list does not tell; the message says why and what mends it."""


def find(text: str, file: str) -> str:
    """The checksum of ``file`` in the text of a list.

    Raises:
        ChecksumError: the list has no line for it, or none with SHA-256 or SHA-512.
    """
    found = {}
    for line in text.splitlines():
        tagged = re.fullmatch(r"SHA(?:256|512) \((?P<file>.+)\) = (?P<hex>[0-9a-fA-F]+)", line.strip())
        plain = re.fullmatch(r"(?P<hex>[0-9a-fA-F]+) [ *](?P<file>.+)", line.strip())
        match = tagged or plain
        if match and match["file"].removeprefix("./") == file and len(match["hex"]) in DIGITS:
            found[len(match["hex"])] = match["hex"].lower()
    if not found:
        raise ChecksumError(
            f"it has no SHA-256 or SHA-512 line for {file}. Compare the name with the list; a published image "
            "that was withdrawn leaves it, too."
        )
    digits = max(found)
    return f"{DIGITS[digits]}:{found[digits]}"


def read(url: str, timeout_seconds: int) -> str:
    """The text of the list.

    Raises:
        ChecksumError: the publisher does not answer with one.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:  # noqa: S310 the argument spec admits http(s) only
            return str(answer.read(MAX_BYTES).decode("utf-8", errors="replace"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ChecksumError(f"it cannot be read: {error}. Is the publisher reachable from this machine?") from error


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "list_url": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "timeout_seconds": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    url = module.params["list_url"]
    if not url.startswith(("http://", "https://")):
        module.fail_json(msg=f"{url} is no http or https address.")
    try:
        checksum = find(read(url, module.params["timeout_seconds"]), module.params["file"])
    except ChecksumError as error:
        module.fail_json(msg=f"The list of checksums {url} does not help: {error}")
    module.exit_json(changed=False, checksum=checksum)


if __name__ == "__main__":
    main()
