"""What the EC2 modules of this project share: things are found by their tags, and carry all of them from birth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# These two and the name say whose thing it is; the other tags may change without a second thing being made.
IDENTITY = ("project", "environment")


class Ec2Error(Exception):
    """Something cannot be made or removed; the message says why and what mends it."""


def text_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """The tags as EC2 takes them: every key and value as text."""
    return {str(key): str(value) for key, value in tags.items()}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the shape of the API, in a fixed order.

    >>> tag_list({"b": "2", "a": "1"})
    [{'Key': 'a', 'Value': '1'}, {'Key': 'b', 'Value': '2'}]
    """
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def specification(kind: str, name: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """``TagSpecifications`` for a new thing of ``kind``, so that it is never there without its tags."""
    return [{"ResourceType": kind, "Tags": tag_list({**tags, "Name": name})}]


def identity_filters(name: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Filters of a ``describe_...`` call for the thing of that name in this project and environment."""
    wanted = {key: tags[key] for key in IDENTITY if key in tags} | {"Name": name}
    return [{"Name": f"tag:{key}", "Values": [wanted[key]]} for key in sorted(wanted)]


def only(kind: str, name: str, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one thing that was found, None when there is none.

    Raises:
        Ec2Error: several answer to the same tags, so nobody can say which is meant.
    """
    if len(found) > 1:
        raise Ec2Error(
            f"{len(found)} things of the kind {kind} carry the tags of {name}. Probably one was made or tagged by "
            "hand: remove the one that is not in use, or its tags, in the AWS console"
        )
    return found[0] if found else None


def offering_zones(ec2: Any, instance_type: str) -> list[str]:
    """The availability zones of the client's region that offer the type, by name."""
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
    )["InstanceTypeOfferings"]
    return sorted(offer["Location"] for offer in offers)


class Ledger:
    """What differed, and whether it may be put right now."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode
        self.differences: list[str] = []

    def put(self, difference: str, act: Callable[[], Any]) -> Any:
        """Note a difference and, outside check mode, put it right; returns what ``act`` returns, None in a check."""
        self.differences.append(difference)
        return None if self.check_mode else act()

    def tags(
        self, ec2: Any, kind: str, resource_id: str, found: list[dict[str, str]], wanted: Mapping[str, str]
    ) -> None:
        """Set the tags that are missing or differ. Other tags are kept."""
        current = {tag["Key"]: tag["Value"] for tag in found}
        if not wanted.items() <= current.items():
            self.put(f"tags of the {kind}", lambda: ec2.create_tags(Resources=[resource_id], Tags=tag_list(wanted)))
