"""Lookup plugin ``aws_account``: the number of the account that the ordinary AWS credentials belong to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_account
author: Smart Classroom (@smart-classroom)
short_description: The number of the AWS account that the credentials belong to
description:
  - Asks the security token service, which needs no permission. Credentials come from where AWS's own tools take them.
options:
  region:
    description: Region of the service.
    type: str
    required: true
  endpoint_url:
    description: Address of the AWS APIs, of AWS itself if empty.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Show the account
  ansible.builtin.debug:
    msg: "{{ lookup('smart_classroom.platform.aws_account', region='us-east-1') }}"
"""

RETURN = r"""
_raw:
  description: The account's number.
  type: list
  elements: str
"""

from functools import lru_cache
from typing import Any

import boto3
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


@lru_cache
def account(region: str, endpoint_url: str) -> str:
    """The account's number.

    Raises:
        BotoCoreError: there are no credentials, or AWS does not answer.
        ClientError: AWS refuses the credentials.
    """
    client = boto3.client(
        "sts",
        region_name=region,
        endpoint_url=endpoint_url or None,
        config=Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3}),
    )
    return str(client.get_caller_identity()["Account"])


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible ships no types
    """Ansible's entry point."""

    def run(self, _terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """The account's number, as a list of one.

        Raises:
            AnsibleLookupError: it cannot be learned.
        """
        self.set_options(var_options=variables, direct=options)
        try:
            return [account(self.get_option("region"), self.get_option("endpoint_url"))]
        except (BotoCoreError, ClientError) as error:
            raise AnsibleLookupError(
                f"whose AWS account this is could not be learned: {error}. Log in to AWS anew; "
                "ansible-playbook playbooks/check-prerequisites.yml says what is wrong with the credentials"
            ) from error
