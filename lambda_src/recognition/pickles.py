"""Reads the course project's pickle of known encodings without executing anything in it.

Nothing that the pickle names is imported. The few names that an array needs are answered by stand-ins defined here,
which check what they are given; any other name is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_BYTES = 64 * 1024 * 1024
_DIMENSIONS = 128
_TYPES = {"f4": 4, "f8": 8}


class PickleError(Exception):
    """The file is not {"name": [...], "encoding": [...]}; the message says what was found."""


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object, *_flags: object) -> None:
        if code not in _TYPES:
            raise PickleError(f"an array of type {code!r} instead of numbers")
        self.code = str(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", "|", "="):
            raise PickleError(f"numbers in byte order {state[1]!r}")


class _Array:
    """Stands in for numpy.ndarray."""

    values: npt.NDArray[np.float64]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, _fortran, data = state
        self.fill(data, kind, shape)

    def fill(self, data: object, kind: object, shape: object) -> None:
        """Takes the bytes of 128 numbers, and nothing else."""
        if (
            not isinstance(kind, _Type)
            or not isinstance(data, bytes | bytearray)
            or shape not in ((_DIMENSIONS,), (1, _DIMENSIONS))
        ):
            raise PickleError(f"an array of shape {shape!r} instead of {_DIMENSIONS} numbers")
        if len(data) != _TYPES[kind.code] * _DIMENSIONS:
            raise PickleError("an array with fewer numbers than it claims")
        self.values = np.frombuffer(bytes(data), dtype=f"<{kind.code}").astype(np.float64)


def _reconstruct(*_arguments: object) -> _Array:
    return _Array()


def _from_buffer(data: object, kind: object, shape: object, *_order: object) -> _Array:
    array = _Array()
    array.fill(data, kind, shape)
    return array


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands in for _codecs.encode, by which protocols below 3 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError("text in an unexpected encoding")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name; every other name is refused, and nothing is imported."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise PickleError(f"it wants to run {module}.{name}; encodings need nothing of the kind") from None


def read_encodings(data: bytes) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Returns (name, 128 numbers) pairs. Raises PickleError for anything but the course project's dictionary."""
    if len(data) > _MAX_BYTES:
        raise PickleError(f"{len(data)} bytes; {_MAX_BYTES} are the limit")
    try:
        content = _Reader(io.BytesIO(data)).load()
    except PickleError:
        raise
    except Exception as error:
        raise PickleError(f"it is damaged: {error}") from error
    if not isinstance(content, dict) or not {"name", "encoding"} <= content.keys():
        raise PickleError('it is not {"name": [...], "encoding": [...]}')
    names, encodings = content["name"], content["encoding"]
    if not isinstance(names, list) or not isinstance(encodings, list) or len(names) != len(encodings):
        raise PickleError("its lists of names and encodings are of different length")
    pairs = []
    for name, encoding in zip(names, encodings, strict=True):
        if not isinstance(name, str) or not isinstance(encoding, _Array) or not hasattr(encoding, "values"):
            raise PickleError(f"the entry {name!r} is not a name with an encoding")
        if not np.isfinite(encoding.values).all():
            raise PickleError(f"the encoding of {name!r} holds a number that is not finite")
        pairs.append((name, encoding.values))
    return pairs
