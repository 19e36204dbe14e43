"""Recorded requests to AWS as a plan that a person can review: names of actions and their parameters, no accidents."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

READS = re.compile(r"(Describe|Get|List|Head|BatchGet|Simulate)")
# What AWS or boto3 makes up: the same request has another one each time.
INVENTED = {"ClientToken"}
ACCIDENTAL = {"PublicKeyMaterial": "<the operator's public key>", "AccessKeyId": "<the poller's access key>"}
# The name under which a service is called, where IAM has another one for it.
PREFIXES = {"monitoring": "cloudwatch"}
IDENTIFIER = re.compile(r"\b(vpc|subnet|igw|rtb|sg|lt|i|eipalloc|eipassoc|rtbassoc|key|eni|vol)-[0-9a-f]{8,17}\b")
# Method and subresource of S3, as IAM calls the action.
S3_ACTIONS = {
    ("GET", ""): "ListBucket",
    ("GET", "list-type"): "ListBucket",
    ("GET", "versions"): "ListBucketVersions",
    ("POST", "delete"): "DeleteObject",
    ("DELETE", "policy"): "DeleteBucketPolicy",
    ("DELETE", "tagging"): "PutBucketTagging",
    ("PUT", ""): "CreateBucket",
    ("HEAD", ""): "ListBucket",
    ("DELETE", ""): "DeleteBucket",
    ("GET", "publicAccessBlock"): "GetBucketPublicAccessBlock",
    ("PUT", "publicAccessBlock"): "PutBucketPublicAccessBlock",
    ("GET", "encryption"): "GetEncryptionConfiguration",
    ("PUT", "encryption"): "PutEncryptionConfiguration",
    ("GET", "ownershipControls"): "GetBucketOwnershipControls",
    ("PUT", "ownershipControls"): "PutBucketOwnershipControls",
    ("GET", "policy"): "GetBucketPolicy",
    ("PUT", "policy"): "PutBucketPolicy",
    ("GET", "tagging"): "GetBucketTagging",
    ("PUT", "tagging"): "PutBucketTagging",
    ("GET", "versioning"): "GetBucketVersioning",
    ("PUT", "versioning"): "PutBucketVersioning",
    ("GET", "notification"): "GetBucketNotification",
    ("PUT", "notification"): "PutBucketNotification",
    ("GET", "lifecycle"): "GetLifecycleConfiguration",
    ("PUT", "lifecycle"): "PutLifecycleConfiguration",
    ("DELETE", "lifecycle"): "PutLifecycleConfiguration",
    ("GET", "acl"): "GetBucketAcl",
    ("GET", "requestPayment"): "GetBucketRequestPayment",
    ("GET", "accelerate"): "GetAccelerateConfiguration",
    ("GET", "object-lock"): "GetBucketObjectLockConfiguration",
    ("GET", "inventory"): "GetInventoryConfiguration",
    ("GET", "location"): "GetBucketLocation",
}
# Method and end of the path of Lambda.
LAMBDA_ACTIONS = (
    ("POST", r"/functions/?", "CreateFunction"),
    ("GET", r"/functions/?", "ListFunctions"),
    ("GET", r"/functions/[^/]+", "GetFunction"),
    ("DELETE", r"/functions/[^/]+", "DeleteFunction"),
    ("GET", r"/functions/[^/]+/configuration", "GetFunctionConfiguration"),
    ("PUT", r"/functions/[^/]+/configuration", "UpdateFunctionConfiguration"),
    ("PUT", r"/functions/[^/]+/code", "UpdateFunctionCode"),
    ("GET", r"/functions/[^/]+/concurrency", "GetFunctionConcurrency"),
    ("PUT", r"/functions/[^/]+/concurrency", "PutFunctionConcurrency"),
    ("DELETE", r"/functions/[^/]+/concurrency", "DeleteFunctionConcurrency"),
    ("POST", r"/functions/[^/]+/versions", "PublishVersion"),
    ("GET", r"/functions/[^/]+/versions", "ListVersionsByFunction"),
    ("POST", r"/functions/[^/]+/aliases", "CreateAlias"),
    ("GET", r"/functions/[^/]+/aliases", "ListAliases"),
    ("GET", r"/functions/[^/]+/aliases/[^/]+", "GetAlias"),
    ("PUT", r"/functions/[^/]+/aliases/[^/]+", "UpdateAlias"),
    ("GET", r"/tags/.+", "ListTags"),
    ("POST", r"/tags/.+", "TagResource"),
)


class UnknownRequestError(Exception):
    """A request that this file has no name for; the message says which."""


@dataclass(frozen=True)
class Request:
    """One request: service and action as IAM writes them, and the parameters."""

    service: str
    action: str
    parameters: Any

    @property
    def permission(self) -> str:
        """The action as a policy names it."""
        return f"{self.service}:{self.action}"

    @property
    def is_read(self) -> bool:
        """Whether it only asks."""
        return READS.match(self.action) is not None


def nest(flat: Iterable[tuple[str, str]]) -> Any:
    """Parameters such as ``Tag.1.Key`` as nested mappings and lists.

    >>> nest([("Tag.1.Key", "a"), ("Tag.1.Value", "b"), ("Name", "n")])
    {'Tag': [{'Key': 'a', 'Value': 'b'}], 'Name': 'n'}
    """
    tree: dict[str, Any] = {}
    for name, value in flat:
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return lists(tree)


def lists(node: Any) -> Any:
    """Mappings whose keys are 1, 2, ... as lists."""
    if not isinstance(node, dict):
        return node
    values = {key: lists(value) for key, value in node.items()}
    if values and all(key.isdigit() for key in values):
        return [values[key] for key in sorted(values, key=int)]
    return values


def from_xml(element: ElementTree.Element) -> Any:
    """An element as text, or as a mapping of its children; repeated children become a list."""
    if not len(element):
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        found.setdefault(child.tag.rpartition("}")[2], []).append(from_xml(child))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def parse(raw: Mapping[str, str]) -> Request:
    """A recorded request.

    Raises:
        UnknownRequestError: there is no name for it here.
    """
    scope = re.search(r"Credential=[^/]+/\d+/[^/]*/([^/]+)/", raw["authorization"])
    if not scope:
        raise UnknownRequestError(f"a request without a signature: {raw['method']} {raw['path']}")
    service = PREFIXES.get(scope[1], scope[1])
    body = base64.b64decode(raw["body"])
    if raw["target"]:
        return Request(service, raw["target"].rpartition(".")[2], json.loads(body or "{}"))
    if service == "s3":
        return parse_s3(raw, body)
    if service == "lambda":
        for method, pattern, action in LAMBDA_ACTIONS:
            if raw["method"] == method and re.fullmatch(r"/\d{4}-\d\d-\d\d" + pattern, raw["path"]):
                name = {"path": raw["path"].partition("/functions/")[2]} if method != "POST" else {}
                return Request(service, action, {**name, **json.loads(body or "{}")})
        raise UnknownRequestError(f"lambda {raw['method']} {raw['path']}: add it to LAMBDA_ACTIONS")
    form = dict(parse_qsl(body.decode() or raw["query"], keep_blank_values=True))
    if "Action" not in form:
        raise UnknownRequestError(f"{service} {raw['method']} {raw['path']}")
    form.pop("Version", None)  # of the API
    return Request(service, form.pop("Action"), nest(form.items()))


def parse_s3(raw: Mapping[str, str], body: bytes) -> Request:
    """A request to S3, which names its action by method and subresource."""
    bucket, _, key = raw["path"].strip("/").partition("/")
    subresource = raw["query"].partition("&")[0].partition("=")[0]
    if not bucket:
        return Request("s3", "ListAllMyBuckets", {})
    action = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "GetObject"}.get(raw["method"]) if key else None
    action = action or S3_ACTIONS.get((raw["method"], subresource))
    if action is None:
        raise UnknownRequestError(f"s3 {raw['method']} {subresource or '(none)'}: add it to S3_ACTIONS")
    content: Any = ""
    if body:
        text = body.decode()
        content = from_xml(ElementTree.fromstring(text)) if text.lstrip().startswith("<") else text  # noqa: S314 own request
    return Request("s3", action, {"bucket": bucket, **({"key": key} if key else {}), "body": content})


class Normalizer:
    """Replaces what is another one at each run by what stays: identifiers by their order, keys by a word."""

    def __init__(self, replacements: Mapping[str, str]) -> None:
        self.replacements = dict(replacements)
        self.names: dict[str, str] = {}

    def name(self, match: re.Match[str]) -> str:
        """``vpc-1`` for the first VPC, and so on; images are not made by the run and keep their names."""
        kind = match[1]
        count = sum(name.startswith(f"{kind}-") for name in self.names.values())
        return self.names.setdefault(match[0], f"{kind}-{count + 1}")

    def value(self, key: str, value: Any) -> Any:
        """A parameter, with everything in it."""
        if isinstance(value, dict):
            return {name: self.value(name, item) for name, item in value.items() if name not in INVENTED}
        if isinstance(value, list):
            return [self.value(key, item) for item in value]
        if not isinstance(value, str):
            return value
        if key in ACCIDENTAL:
            return ACCIDENTAL[key]
        if key == "UserData":
            return decoded(value).splitlines()
        if value[:1] in "{[" and value:
            try:
                return self.value(key, json.loads(value))
            except ValueError:
                pass
        for old, new in self.replacements.items():
            value = value.replace(old, new)
        return IDENTIFIER.sub(self.name, value)


def decoded(text: str) -> str:
    """Base64 as text, or the text itself."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return text


def tags_as_mapping(value: Any) -> Any:
    """Lists of tags as mappings, which are easier to read; the key pair's digest of an accidental key is left out."""
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and {"Key", "Value"} == set(item) for item in value):
            return {item["Key"]: item["Value"] if item["Key"] != "key-digest" else "<digest>" for item in value}
        return [tags_as_mapping(item) for item in value]
    if isinstance(value, dict):
        return {name: tags_as_mapping(item) for name, item in value.items()}
    return value


def plan(
    deployment: Iterable[Mapping[str, str]], removal: Iterable[Mapping[str, str]], replacements: Mapping[str, str]
) -> dict[str, Any]:
    """The plan: every changing request in order with its parameters, and the names of those that only ask.

    Args:
        deployment: what was asked while everything was made.
        removal: what was asked while everything was removed.
        replacements: text that is another one at each run, with what is written for it.

    Raises:
        UnknownRequestError: a request has no name here.
    """
    normalizer = Normalizer(replacements)
    parts = {"changes": [parse(raw) for raw in deployment], "removals": [parse(raw) for raw in removal]}
    found: dict[str, Any] = {
        part: [
            {"request": request.permission, "parameters": tags_as_mapping(normalizer.value("", request.parameters))}
            for request in requests
            if not request.is_read
        ]
        for part, requests in parts.items()
    }
    reads = {request.permission for requests in parts.values() for request in requests if request.is_read}
    return {**found, "reads": sorted(reads)}
