"""The network that encodes a face: dlib's, with its own weights, multiplied by NumPy's BLAS.

dlib's wheels are built without a BLAS and take seven times as long for the same numbers. The architecture is that of
dlib's example dnn_face_recognition_ex.cpp: a stem, then blocks of two 3 x 3 convolutions with a shortcut around them.
The weights are read from the file that dlib reads, so no converted copy has to be kept; each convolution's affine layer
is multiplied into it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Activations = npt.NDArray[np.float32]  # faces x height x width x channels

SIDE: Final = 150  # pixels of the square picture that the network looks at
DIMENSIONS: Final = 128

# Stages after the stem: whether the first block halves the picture, and how many blocks follow it.
_STAGES: Final = ((False, 3), (True, 3), (True, 2), (True, 2), (True, 0))
_CONVOLUTIONS: Final = 1 + sum(2 * (halving + blocks) for halving, blocks in _STAGES)
_MEAN: Final = np.array([122.782, 117.001, 104.298], np.float32)  # red, green, blue
_BATCH: Final = 8  # faces at once: larger matrices, but a bounded amount of memory (20 MB)


class WeightsError(Exception):
    """The file is not the weights of this network."""


@dataclass(frozen=True)
class _Convolution:
    """One convolution with what follows it: `weights` is (side * side * channels in) x channels out."""

    side: int
    weights: Activations
    bias: Activations

    def __call__(self, x: Activations, *, stride: int = 1, border: int = 0) -> Activations:
        """Returns the convolved pictures; `border` zeros are put around each first."""
        faces, height, width, channels = x.shape
        if border:
            inside = x
            height, width = height + 2 * border, width + 2 * border
            x = np.zeros((faces, height, width, channels), np.float32)
            x[:, border:-border, border:-border] = inside
        high, wide = (height - self.side) // stride + 1, (width - self.side) // stride + 1
        face, row, column, _ = x.strides
        # A row of a window is consecutive in memory, so that copying the windows out is quick.
        windows = np.lib.stride_tricks.as_strided(
            x,
            (faces, high, wide, self.side, self.side * channels),
            (face, row * stride, column * stride, row, x.itemsize),
            writeable=False,
        )
        result = windows.reshape(faces * high * wide, -1) @ self.weights
        result += self.bias
        return result.reshape(faces, high, wide, -1)


class FaceNetwork:
    """The network with its weights, ready to encode."""

    def __init__(self, path: Path) -> None:
        """Reads dlib_face_recognition_resnet_model_v1.dat. Raises WeightsError when it is another file."""
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                reader = _Reader(data)
                self._convolutions = [reader.convolution() for _ in range(_CONVOLUTIONS)]
                self._projection = reader.projection()
        except (IndexError, ValueError) as error:  # an empty file cannot be mapped
            raise WeightsError(f"{path} is not the network that encodes faces: {error}") from error

    def encode(self, chips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Returns the encodings (n x 128) of aligned faces (n x 150 x 150 x 3, RGB)."""
        parts = [self._run(chips[start : start + _BATCH]) for start in range(0, len(chips), _BATCH)]
        return np.concatenate([np.empty((0, DIMENSIONS), np.float32), *parts]).astype(np.float64)

    def _run(self, chips: npt.NDArray[np.uint8]) -> Activations:
        convolutions = iter(self._convolutions)
        x: Activations = (chips.astype(np.float32) - _MEAN) * np.float32(1 / 256)
        x = _positive(next(convolutions)(x, stride=2))
        x = _pooled(x, 3, np.maximum)
        for halving, blocks in _STAGES:
            if halving:
                y = _positive(next(convolutions)(x, stride=2))
                y = next(convolutions)(y, border=1)
                x = _positive(_sum(y, _pooled(x, 2, np.add) * np.float32(0.25)))
            for _ in range(blocks):
                y = _positive(next(convolutions)(x, border=1))
                y = next(convolutions)(y, border=1)
                y += x
                x = _positive(y)
        return np.asarray(x.mean(axis=(1, 2)) @ self._projection, np.float32)


def _positive(x: Activations) -> Activations:
    return np.maximum(x, 0, out=x)


def _pooled(x: Activations, side: int, combine: np.ufunc) -> Activations:
    """Returns the combination of each window of side x side, two apart."""
    high, wide = (x.shape[1] - side) // 2 + 1, (x.shape[2] - side) // 2 + 1
    parts = [
        x[:, row : row + 2 * high - 1 : 2, column : column + 2 * wide - 1 : 2]
        for row in range(side)
        for column in range(side)
    ]
    result = parts[0].copy()
    for part in parts[1:]:
        combine(result, part, out=result)
    return result


def _sum(one: Activations, other: Activations) -> Activations:
    """Returns the sum of two whose sizes differ: what one lacks, at its end, counts as zero."""
    shape = tuple(max(sizes) for sizes in zip(one.shape, other.shape, strict=True))
    result = np.zeros(shape, np.float32)
    for x in (one, other):
        result[:, : x.shape[1], : x.shape[2], : x.shape[3]] += x
    return result


class _Reader:
    """Reads dlib's serialisation of a network from its input to its output, as far as it is needed.

    An integer is a byte with the number of bytes that follow (the highest bit is the sign), then these, lowest first. A
    tensor is the integer 2 (its version), four integers (its shape), then 32-bit floats, lowest byte first.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._position = data, 0

    def convolution(self) -> _Convolution:
        """Reads the next convolution and the affine layer behind it, as one."""
        self._find(b"con_4")
        parameters = self._tensor()
        channels, side, width = self._integer(), self._integer(), self._integer()
        self._find(b"affine_")
        gain, shift = self._tensor().reshape(2, channels)
        if side != width:
            raise ValueError("a convolution is not square")
        filters = parameters[:-channels].reshape(channels, -1, side, side)
        weights = np.empty((side, side, filters.shape[1], channels), np.float32)
        np.multiply(filters.transpose(2, 3, 1, 0), gain, out=weights)
        return _Convolution(side, weights.reshape(-1, channels), parameters[-channels:] * gain + shift)

    def projection(self) -> Activations:
        """Reads the last layer: channels x 128."""
        self._find(b"fc_2")
        outputs, inputs = self._integer(), self._integer()
        if outputs != DIMENSIONS:
            raise ValueError(f"it gives {outputs} numbers, not {DIMENSIONS}")
        return self._tensor().reshape(inputs, outputs).copy()

    def _find(self, layer: bytes) -> None:
        """Goes on to behind the name of the next layer of this kind."""
        found = self._data.find(layer, self._position)
        if found < 0:
            raise ValueError(f"it has too few layers of the kind {layer.decode()}")
        self._position = found + len(layer)

    def _integer(self) -> int:
        length = self._data[self._position] & 0x0F
        start, self._position = self._position + 1, self._position + 1 + length
        return int.from_bytes(self._data[start : self._position], "little")

    def _tensor(self) -> Activations:
        if self._integer() != 2:
            raise ValueError("a tensor is of another version")
        count = 1
        for _ in range(4):
            count *= self._integer()
        values = np.frombuffer(self._data[self._position : self._position + 4 * count], "<f4")
        self._position += 4 * count
        if len(values) != count:
            raise ValueError("it ends within a tensor")
        return values
