"""The GPUs that members are loaded onto: the largest member first, onto the GPU with most free memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from deepen_llm.members.memory import free_memory

Share = dict[int, int]
"""Bytes of a member's weights on each GPU that it goes to; empty where it fits on none."""

_MARGINS = (25, 5)  # percent of the weights kept free for caches; the second where some member fits on no GPU with 25
_WORKING = 256 * 1024**2  # bytes for the tensors that a forward and the fusion allocate
_USABLE = 95  # percent of the free memory; the rest is lost to fragmentation


@dataclass(frozen=True)
class Footprint:
    """The memory that a member's weights take.

    Attributes:
        weights: All of them, in bytes.
        block: The largest part that is never split over devices, in bytes.
    """

    weights: int
    block: int = 0


def place(footprints: Sequence[Footprint], free: Mapping[int, int]) -> list[Share]:
    """Assign GPUs to members: one GPU where the member fits on one, else the fewest that hold it together.

    Args:
        footprints: The members'.
        free: Free bytes of each GPU.

    Returns:
        For each member, its GPUs with the weights that each may hold. The weights on a GPU, with the margins for their
        caches, never exceed what is free there.
    """
    for margin in _MARGINS:
        shares = assign(footprints, free, margin)
        if all(shares):
            break
    return shares


def assign(footprints: Sequence[Footprint], free: Mapping[int, int], margin: int) -> list[Share]:
    """`place`, with one margin.

    Args:
        footprints: The members'.
        free: Free bytes of each GPU.
        margin: Memory that stays free for caches, in percent of the weights.
    """
    left, shares = dict(free), [Share() for _ in footprints]
    for i in sorted(range(len(footprints)), key=lambda i: -footprints[i].weights):
        room = {gpu: (bytes_ - _WORKING) * 100 // (100 + margin) for gpu, bytes_ in left.items()}
        shares[i] = _fit(footprints[i], room)
        for gpu, weights in shares[i].items():
            left[gpu] -= occupied(weights, margin)
    return shares


def occupied(weights: int, margin: int) -> int:
    """Bytes of weights together with the memory that stays free for caches and tensors."""
    return weights + -(-weights * margin // 100) + _WORKING


def _fit(member: Footprint, room: Mapping[int, int]) -> Share:
    gpus = sorted((gpu for gpu in room if room[gpu] > 0), key=lambda gpu: (-room[gpu], gpu))
    for count in range(1, len(gpus) + 1):
        # On each GPU of several, up to a block stays unused, and accelerate reserves one more block on the first.
        needed = member.weights + (count + 1) * member.block if count > 1 else member.weights
        if needed <= sum(room[gpu] for gpu in gpus[:count]):
            share = Share()
            for gpu in gpus[:count]:
                share[gpu] = min(room[gpu], needed)
                needed -= share[gpu]
            return share
    return {}


def free_gpu_memory() -> dict[int, int]:
    """Free bytes of each GPU, less the margin for members on it already; empty where there is no GPU."""
    if not torch.cuda.is_available():
        return {}
    return {gpu: _usable(gpu) for gpu in range(torch.cuda.device_count())}


def _usable(gpu: int) -> int:
    device = torch.device("cuda", gpu)
    loaded = torch.cuda.memory_allocated(device)  # members that were loaded onto this device before, with caches too
    return max(0, (free_memory(device) or 0) * _USABLE // 100 - loaded * _MARGINS[0] // 100)
