"""Transfers of several small arrays between the CPU and a device at once, since each transfer has its own latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.generic]


def fetched(tensors: Sequence[Tensor]) -> list[Array]:
    """The values of fp32 and boolean tensors, flat, in one transfer from each device."""
    arrays: dict[int, Array] = {}
    for device in dict.fromkeys(tensor.device for tensor in tensors):
        indices = [index for index, tensor in enumerate(tensors) if tensor.device == device]
        parts = [tensors[index].reshape(-1).view(torch.uint8) for index in indices]
        packed = torch.cat(parts).cpu().numpy()
        for index, size in zip(indices, map(len, parts), strict=True):
            part, packed = packed[:size], packed[size:]
            arrays[index] = part.view(np.bool_ if tensors[index].dtype == torch.bool else np.float32)
    return [arrays[index] for index in range(len(tensors))]


def sent(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """Arrays of integers and of floats as flat int64 and fp32 tensors on a device, in one asynchronous transfer."""
    words = [_words(array.reshape(-1)) for array in arrays]
    packed = torch.from_numpy(np.concatenate(words))
    packed = packed.pin_memory() if device.type == "cuda" else packed
    parts = torch.split(packed.to(device, non_blocking=True), [len(words_of_array) for words_of_array in words])
    pairs = zip(parts, arrays, strict=True)
    return [part.view(torch.float32)[: array.size] if array.dtype.kind == "f" else part for part, array in pairs]


def _words(values: Array) -> NDArray[np.int64]:
    """Values as 64-bit words: integers as they are, floats as pairs of fp32."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    paired = np.zeros(len(values) + len(values) % 2, np.float32)
    paired[: len(values)] = values
    return paired.view(np.int64)
