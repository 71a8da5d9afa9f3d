"""One layer's keys and values, in buffers that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepen_llm.members.transformers_api import DynamicLayer


class States(NamedTuple):
    """What one layer holds of one text.

    Attributes:
        keys: ``[heads, tokens, D]``.
        values: ``[heads, tokens, D]``.
        indexer: The keys by which sparse attention chooses tokens, ``[tokens, d]``; None for others.
    """

    keys: Tensor
    values: Tensor
    indexer: Tensor | None

    def first(self, count: int) -> States:
        """The same of the first tokens."""
        indexer = None if self.indexer is None else self.indexer[:count]
        return States(self.keys[:, :count], self.values[:, :count], indexer)

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return self.keys.nbytes + self.values.nbytes + (0 if self.indexer is None else self.indexer.nbytes)


class Block:
    """Where the tokens of one forward are written: slot p of a row holds the token at position p of its text.

    Args:
        slots: The slot of each token of each row, ``[B, L]``; tokens of no text have the buffers' last slot.
        total: The number of slots that the forward sees.
        before: The slot at which the block begins in every row; None where rows differ.
        rows: The row of each token, ``[B, 1]``, where they and the slots stay in these tensors, as for a captured
            forward; None where they may be sent to any device.

    Attributes:
        total: See above.
        before: See above.
    """

    def __init__(self, slots: Tensor, total: int, before: int | None = None, rows: Tensor | None = None) -> None:
        self.total, self.before = total, before
        self._slots, self._length = slots, slots.shape[1]
        self._sent = {} if rows is None else {slots.device: (rows, slots)}

    def write(self, buffer: Tensor, new: Tensor) -> Tensor:
        """Write states into their slots; returns all that the forward sees.

        Args:
            buffer: ``[R, heads, C, D]``.
            new: ``[B, heads, L, D]``.
        """
        if self.before is not None:
            buffer[: len(new), :, self.before : self.before + self._length] = new
        else:
            rows, slots = self._on(buffer.device)
            buffer[rows, :, slots] = new.transpose(1, 2)
        return buffer[: len(new), :, : self.total]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The row and the slot of each token on a device, ``[B, 1]`` and ``[B, L]``."""
        if device not in self._sent:
            rows = torch.arange(len(self._slots))[:, None]
            self._sent[device] = rows.to(device, non_blocking=True), self._slots.to(device, non_blocking=True)
        return self._sent[device]


class Placement:
    """Where all layers of a slab write.

    Args:
        rows: The number of rows, R.
        capacity: The number of slots, C.

    Attributes:
        rows: See above.
        capacity: See above.
        block: Where the next forward writes; None before the first one.
        before: The number of slots that count as read before it.
        forward: The number of that forward.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.block: Block | None = None
        self.before, self.forward = 0, 0

    def begin(self, block: Block, before: int) -> None:
        """Begin a forward."""
        self.block, self.before = block, before
        self.forward += 1


class RowLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of up to R rows with up to C slots, ``[R, heads, C, D]`` each.

    Args:
        placement: R, C, and where the next forward writes.
    """

    is_initialized: bool

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self._placement, self._written = placement, -1  # the last forward that this layer was written in
        self._rows, self._capacity = placement.rows, placement.capacity
        self._indexer: Tensor | None = None  # [R, C, d]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write a block; returns all keys and values that it sees."""
        block = self._next()
        if not self.is_initialized or self._differs(key_states):
            self._allocate(key_states, value_states)
        self._written = self._placement.forward
        return block.write(self.keys, key_states), block.write(self.values, value_states)

    def update_indexer(self, indexer_key_states: Tensor) -> Tensor:
        """Write the keys by which sparse attention chooses tokens, ``[B, L, d]``; returns all that the block sees."""
        block = self._next()
        if self._indexer is None:
            self._indexer = indexer_key_states.new_zeros(self._rows, self._capacity, indexer_key_states.shape[-1])
        return block.write(self._indexer[:, None], indexer_key_states[:, None])[:, 0]

    def get_seq_length(self) -> int:
        """The number of slots before the block, or with it once it is written."""
        block = self._placement.block
        return block.total if block is not None and self._written == self._placement.forward else self._placement.before

    def states(self, row: int, count: int) -> States | None:
        """A copy of what the layer holds of a row's first tokens; None where it holds nothing."""
        if not self.is_initialized:
            return None
        indexer = None if self._indexer is None else self._indexer[row, :count].clone()
        return States(self.keys[row, :, :count].clone(), self.values[row, :, :count].clone(), indexer)

    def load(self, row: int, states: States) -> None:
        """Write what `states` returned into a row's first slots."""
        count = states.keys.shape[1]
        if not self.is_initialized:
            self._allocate(states.keys[None], states.values[None])
        self.keys[row, :, :count], self.values[row, :, :count] = states.keys, states.values
        if states.indexer is not None:
            if self._indexer is None:
                self._indexer = states.indexer.new_zeros(self._rows, self._capacity, states.indexer.shape[-1])
            self._indexer[row, :count] = states.indexer

    def copy_rows(self, source: RowLayer, rows: Sequence[int], first: int, count: int) -> None:
        """Copy the first slots of another layer's rows into rows of this one, from row ``first`` on."""
        if not source.is_initialized:
            return
        if not self.is_initialized:
            self._allocate(source.keys, source.values)
        if source._indexer is not None and self._indexer is None:
            self._indexer = source._indexer.new_zeros(self._rows, self._capacity, source._indexer.shape[-1])
        last = first + len(rows)
        self.keys[first:last, :, :count] = source.keys[rows, :, :count]
        self.values[first:last, :, :count] = source.values[rows, :, :count]
        if self._indexer is not None and source._indexer is not None:
            self._indexer[first:last, :count] = source._indexer[rows, :count]

    def clear(self, row: int, first: int) -> None:
        """Fill a row with zeros, from a slot on."""
        if self.is_initialized:
            self.keys[row, :, first:] = self.values[row, :, first:] = 0
        if self._indexer is not None:
            self._indexer[row, first:] = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        held = [self.keys, self.values] if self.is_initialized else []
        return sum(buffer.nbytes for buffer in (*held, *([] if self._indexer is None else [self._indexer])))

    def _next(self) -> Block:
        assert self._placement.block is not None  # noqa: S101 - `Slab.begin` is called before each forward
        return self._placement.block

    def _differs(self, keys: Tensor) -> bool:
        """Whether a text begins whose keys have another type or device than those of earlier texts."""
        return self._placement.before == 0 and (keys.dtype, keys.device) != (self.keys.dtype, self.keys.device)

    def _allocate(self, keys: Tensor, values: Tensor) -> None:
        """Buffers of the type and on the device of these states, ``[…, heads, …, D]``."""
        self.device, self.is_initialized = keys.device, True
        self.keys, self.values = (
            like.new_zeros(self._rows, like.shape[1], self._capacity, like.shape[3]) for like in (keys, values)
        )
