"""Slabs: buffers for the keys and values of several texts, which stay where they are and are used again.

A captured graph reads and writes fixed addresses. So the buffers of texts that have ended, and the graphs over them,
wait in the member's pool for the next ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache

from deepen_llm.members.local.layers import Block, Placement, RowLayer
from deepen_llm.members.memory import buffer_size, free_memory

_SHARE = 0.1  # of the device's free memory, for slabs that nobody uses


class Steps(Protocol):
    """Forwards of fixed shapes over the buffers of a slab."""

    def read(self, blocks: Sequence[Sequence[int]], positions: Tensor, slots: Tensor) -> Tensor:
        """See `FixedSteps.read`."""


class Slab:
    """Keys and values of all layers for up to R texts of up to C tokens.

    No part of a slab refers to the slab, so that it is freed as soon as nobody uses it.

    Args:
        rows: R.
        capacity: C.

    Attributes:
        placement: R and C, and where the next forward writes.
        cache: What the model's forward takes; its layers are made when they are first written.
        steps: Forwards of fixed shapes over these buffers; None until there is one.
        weights: What the model's weights were when the first of them was made (`weights_state`).
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.placement = Placement(rows, capacity)
        self.cache = Cache(layer_class_to_replicate=partial(RowLayer, self.placement))
        self.steps: Steps | None = None
        self.weights: object = None

    @property
    def rows(self) -> int:
        """R."""
        return self.placement.rows

    @property
    def capacity(self) -> int:
        """C."""
        return self.placement.capacity

    def begin(self, block: Block, before: int) -> None:
        """Set where the next forward writes.

        Args:
            block: The block.
            before: The number of slots that count as read before it.
        """
        self.placement.begin(block, before)

    @property
    def is_allocated(self) -> bool:
        """Whether a forward has written the layers, so that no later one makes buffers."""
        return any(layer.is_initialized for layer in self.layers)

    @property
    def layers(self) -> list[RowLayer]:
        """All layers, of which some may hold nothing."""
        return self.cache.layers  # type: ignore[no-any-return]

    @property
    def seen(self) -> int:
        """How many slots the layers have seen after a forward: all of the block's, unless no layer was written."""
        return max((layer.get_seq_length() for layer in self.layers), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.nbytes for layer in self.layers)

    def layer(self, index: int) -> RowLayer:
        """A layer by its index; it is made where it is missing."""
        while len(self.layers) <= index:
            self.layers.append(RowLayer(self.placement))
        return self.layers[index]

    def copy_rows(self, source: Slab, rows: list[int], first: int, count: int) -> None:
        """Copy the first slots of another slab's rows into rows of this one, from row ``first`` on."""
        for index, layer in enumerate(source.layers):
            self.layer(index).copy_rows(layer, rows, first, count)

    def clear(self, row: int, first: int) -> None:
        """Fill a row with zeros, from a slot on."""
        for layer in self.layers:
            layer.clear(row, first)


class SlabPool:
    """The slabs of one model that nobody uses now; threads may share it.

    Args:
        device: Where the model is.
        weights_state: What the model's weights are now: forwards captured with others are dropped.
    """

    def __init__(self, device: torch.device, weights_state: Callable[[], object]) -> None:
        self._device, self._weights_state = device, weights_state
        # A garbage collection inside of a method may call another one, by a stream that nobody refers to any more.
        self._lock = threading.RLock()
        self._free: tuple[Slab, ...] = ()  # the one that was used last is last

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy without slabs."""
        return SlabPool, (self._device, self._weights_state)

    def take(self, rows: int, capacity: int) -> Slab:
        """A slab for at least so many rows and slots, of a `buffer_size`."""
        size = buffer_size(rows, capacity)
        with self._lock:
            fits = [slab for slab in self._free if (slab.rows, slab.capacity) == size]
            if not fits:
                return Slab(*size)
            self._free = tuple(slab for slab in self._free if slab is not fits[-1])
        if fits[-1].steps is not None and fits[-1].weights != self._weights_state():
            return Slab(*size)
        return fits[-1]

    def give_back(self, slab: Slab) -> None:
        """Keep a slab for others, unless those that nobody uses take more than a tenth of the free memory."""
        with self._lock:
            kept = [*(one for one in self._free if one is not slab), slab]
            free, sizes = free_memory(self._device), [one.nbytes for one in kept]
            while kept and free is not None and sum(sizes) > _SHARE * (free + sum(sizes)):
                del kept[0], sizes[0]
            self._free = tuple(kept)
