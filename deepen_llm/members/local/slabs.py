"""Slabs: buffers for the keys and values of several texts, which stay where they are and are used again.

A captured graph reads and writes fixed addresses. So the buffers of texts that have ended, and the graphs over them,
wait in the member's pool for the next ones.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache

from deepen_llm.members.local.layers import Block, RowLayer
from deepen_llm.members.memory import buffer_size, free_memory

if TYPE_CHECKING:
    from deepen_llm.members.local.steps import FixedSteps

_SHARE = 0.1  # of the device's free memory, for slabs that nobody uses


class Slab:
    """Keys and values of all layers for up to R texts of up to C tokens.

    Args:
        rows: R.
        capacity: C.

    Attributes:
        rows: See above.
        capacity: See above.
        cache: What the model's forward takes; its layers are made when they are first written.
        steps: Forwards of fixed shapes over these buffers; None until there is one.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.cache = Cache(layer_class_to_replicate=self._new_layer)
        self.steps: FixedSteps | None = None
        self._block: Block | None = None
        self._before = 0

    def begin(self, block: Block, before: int) -> None:
        """Set where the next forward writes.

        Args:
            block: The block.
            before: The number of slots that count as read before it.
        """
        self._block, self._before = block, before
        for layer in self.layers:
            layer.block, layer.seen = block, before

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
        return max((layer.seen for layer in self.layers), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.nbytes for layer in self.layers)

    def layer(self, index: int) -> RowLayer:
        """A layer by its index; it is made where it is missing."""
        while len(self.layers) <= index:
            self.layers.append(self._new_layer())
        return self.layers[index]

    def copy_rows(self, source: Slab, rows: list[int], first: int, count: int) -> None:
        """Copy the first slots of another slab's rows into rows of this one, from row ``first`` on."""
        for index, layer in enumerate(source.layers):
            self.layer(index).copy_rows(layer, rows, first, count)

    def clear(self, row: int, first: int) -> None:
        """Fill a row with zeros, from a slot on."""
        for layer in self.layers:
            layer.clear(row, first)

    def _new_layer(self) -> RowLayer:
        layer = RowLayer(self.rows, self.capacity)
        layer.block, layer.seen = self._block, self._before
        return layer


class SlabPool:
    """The slabs of one model that nobody uses now; threads may share it.

    Args:
        device: Where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._lock = device, threading.Lock()
        self._free: list[Slab] = []  # the one that was used last is last

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy without slabs."""
        return SlabPool, (self._device,)

    def take(self, rows: int, capacity: int) -> Slab:
        """A slab for at least so many rows and slots, of a `buffer_size`."""
        size = buffer_size(rows, capacity)
        with self._lock:
            for index in range(len(self._free) - 1, -1, -1):
                if (self._free[index].rows, self._free[index].capacity) == size:
                    return self._free.pop(index)
        return Slab(*size)

    def give_back(self, slab: Slab) -> None:
        """Keep a slab for others, unless those that nobody uses take more than a tenth of the free memory."""
        free = free_memory(self._device)
        with self._lock:
            self._free.append(slab)
            taken = sum(one.nbytes for one in self._free)
            while self._free and free is not None and taken > _SHARE * (free + taken):
                taken -= self._free.pop(0).nbytes
