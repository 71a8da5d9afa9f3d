"""Several small arrays at once between the host and a device: each transfer is one more wait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.generic]


def fetched(tensors: Sequence[Tensor]) -> list[Array]:
    """The values of fp32 and boolean tensors, flat, in one transfer from each device."""
    found: dict[int, Array] = {}
    for device in dict.fromkeys(one.device for one in tensors):
        here = [place for place, one in enumerate(tensors) if one.device == device]
        parts = [tensors[place].reshape(-1).view(torch.uint8) for place in here]
        packed = torch.cat(parts).cpu().numpy()
        for place, size in zip(here, map(len, parts), strict=True):
            part, packed = packed[:size], packed[size:]
            found[place] = part.view(np.bool_ if tensors[place].dtype == torch.bool else np.float32)
    return [found[place] for place in range(len(tensors))]


def sent(arrays: Sequence[Array], device: torch.device) -> list[Tensor]:
    """Arrays of integers and of floats as int64 and fp32 tensors on a device, flat, in one transfer without a wait."""
    words = [_words(one.reshape(-1)) for one in arrays]
    packed = torch.from_numpy(np.concatenate(words))
    packed = packed.pin_memory() if device.type == "cuda" else packed
    parts = torch.split(packed.to(device, non_blocking=True), [len(one) for one in words])
    pairs = zip(parts, arrays, strict=True)
    return [part.view(torch.float32)[: one.size] if one.dtype.kind == "f" else part for part, one in pairs]


def _words(values: Array) -> NDArray[np.int64]:
    """Integers as they are, floats as fp32 in pairs."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    paired = np.zeros(len(values) + len(values) % 2, np.float32)
    paired[: len(values)] = values
    return paired.view(np.int64)
