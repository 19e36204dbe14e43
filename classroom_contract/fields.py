"""Reads single values out of JSON that somebody else wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn


class ContractError(ValueError):
    """Something is not as agreed; the text says what, and names no student."""


def load_object(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ContractError: it is none, or holds what JSON does not know (NaN, Infinity).
    """
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ContractError("not a JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def member(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`. Raises ContractError."""
    value = values.get(name)
    if not isinstance(value, dict):
        raise ContractError(f"{name} is missing or no object")
    return value


def objects(values: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The list of objects under `name`. Raises ContractError."""
    value = values.get(name)
    if not isinstance(value, list):
        raise ContractError(f"{name} is not a list")
    if not all(isinstance(one, dict) for one in value):
        raise ContractError(f"{name} holds something that is no object")
    return value


def text(values: Mapping[str, Any], name: str) -> str:
    """The text under `name`, which must hold something. Raises ContractError."""
    value = optional_text(values, name)
    if not value:
        raise ContractError(f"{name} is missing or empty")
    return value


def optional_text(values: Mapping[str, Any], name: str) -> str | None:
    """The text under `name`, None where there is none. Raises ContractError."""
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ContractError(f"{name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ContractError(f"{name} is not valid Unicode") from error
    return value


def number(values: Mapping[str, Any], name: str) -> float:
    """The finite number under `name`. Raises ContractError."""
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:  # an integer beyond every float
            pass
    raise ContractError(f"{name} is missing or no finite number")


def whole(values: Mapping[str, Any], name: str) -> int:
    """The whole number under `name`. Raises ContractError."""
    value = number(values, name)
    if value != int(value):
        raise ContractError(f"{name} is no whole number")
    return int(value)


def moment(values: Mapping[str, Any], name: str) -> datetime:
    """The time under `name`, ISO 8601 with its zone. Raises ContractError."""
    value = text(values, name)
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise ContractError(f"{name} is not a time: {value[:40]!r}") from error
    if found.tzinfo is None:
        raise ContractError(f"{name} has no time zone: {value!r}")
    return found


def schema(values: Mapping[str, Any], known: tuple[int, ...]) -> int:
    """The document's schema, one of `known`. Raises ContractError."""
    value = values.get("schema")
    if isinstance(value, bool) or value not in known:
        shown = value if isinstance(value, int) else "no number"
        raise ContractError(f"schema is {shown}, known are {', '.join(map(str, known))}")
    return int(value)
