"""One layer's keys and values, in buffers with spare slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepen_llm.members.transformers_api import DynamicLayer

_SPARE = 64  # spare slots of a new buffer, so that most tokens are written without copying all before them
_SPARE_SHARE = 0.25  # the same as a share of the slots in use; the larger number counts
_SMALLEST_RESERVE = 256  # slots of a buffer that `reserve` makes


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values ``[B, heads, slots, D]`` at the front of their buffers.

    Attributes:
        slot: Where a one-token block is written, int64 ``[1]``, while all shapes must stay the same; `update` then
            returns the whole buffers. None otherwise: a block is appended.
    """

    slot: Tensor | None = None
    is_initialized: bool

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self._buffers: dict[str, Tensor] = {}
        self._indexer_keys: Tensor | None = None  # [B, slots, d], by which sparse attention chooses tokens

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append a block; returns all keys and values."""
        if self.slot is not None:
            self._buffers["keys"].index_copy_(2, self.slot, key_states)
            self._buffers["values"].index_copy_(2, self.slot, value_states)
            return self._buffers["keys"], self._buffers["values"]
        if not self.is_initialized:
            self._begin(key_states, value_states)
        self.keys, self.values = self._append("keys", key_states), self._append("values", value_states)
        return self.keys, self.values

    def update_indexer(self, indexer_key_states: Tensor) -> Tensor:
        """Append a block of the keys by which sparse attention chooses tokens, ``[B, block, d]``; returns all."""
        parts = [indexer_key_states] if self._indexer_keys is None else [self._indexer_keys, indexer_key_states]
        self._indexer_keys = torch.cat(parts, 1)
        return self._indexer_keys

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last tokens.

        Args:
            tokens_to_remove: Their number, negative: the form that all versions of `transformers` take.
        """
        if self.is_initialized and tokens_to_remove < 0:
            self.keys, self.values = (states[:, :, :tokens_to_remove] for states in self.held)
            self._indexer_keys = None if self._indexer_keys is None else self._indexer_keys[:, :tokens_to_remove]

    def reserve(self) -> int:
        """Make sure that the buffers have a spare slot, and many where they must grow.

        Returns:
            Number of slots of a buffer.
        """
        count = self.keys.shape[2]
        for name in ("keys", "values"):
            if not self._has_room(name, count + 1):
                self._grow(name, getattr(self, name), max(_SMALLEST_RESERVE, 1 << count.bit_length()))
        return self._buffers["keys"].shape[2]

    @property
    def addresses(self) -> tuple[int, ...]:
        """The buffers' addresses, which a captured forward depends on."""
        return tuple(buffer.data_ptr() for buffer in self._buffers.values())

    def show(self, count: int) -> None:
        """Hold the first slots of the buffers, and no others."""
        self.keys, self.values = (self._buffers[name][:, :, :count] for name in ("keys", "values"))

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """Keys and values."""
        return self.keys, self.values

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Hold other keys and values, and free the buffers."""
        self.keys, self.values = keys, values
        self._buffers.clear()

    def part(self, sequence: int, slots: Sequence[int]) -> GrowingLayer:
        """A layer of its own, with some slots of one sequence."""
        part = GrowingLayer()
        if self.is_initialized:
            index = torch.tensor(slots, device=self.keys.device)
            keys, values = (states[sequence : sequence + 1].index_select(2, index) for states in self.held)
            part._begin(keys, values)
            part.hold(keys, values)
            if self._indexer_keys is not None:
                part._indexer_keys = self._indexer_keys[sequence : sequence + 1].index_select(1, index)
        return part

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values, without spare slots."""
        indexer = 0 if self._indexer_keys is None else self._indexer_keys.nbytes
        return indexer + sum(states.nbytes for states in self.held)

    def _begin(self, keys: Tensor, values: Tensor) -> None:
        """Begin with no tokens, of the type and on the device of these states."""
        self.device = keys.device
        self.keys, self.values = keys[:, :, :0], values[:, :, :0]
        self.is_initialized = True

    def _append(self, name: str, new: Tensor) -> Tensor:
        held = getattr(self, name)
        count = held.shape[2] if held.numel() else 0
        total = count + new.shape[2]
        if not self._has_room(name, total):
            held = held if count else new[:, :, :0]
            self._grow(name, held, total + max(_SPARE, int(_SPARE_SHARE * total)))
        self._buffers[name][:, :, count:total] = new
        return self._buffers[name][:, :, :total]

    def _has_room(self, name: str, total: int) -> bool:
        """Whether the states lie in the buffer, and it has this many slots."""
        held, buffer = getattr(self, name), self._buffers.get(name)
        if buffer is None or not held.numel() or len(held) != len(buffer):
            return False
        return bool(buffer.data_ptr() == held.data_ptr() and buffer.shape[2] >= total)

    def _grow(self, name: str, held: Tensor, slots: int) -> None:
        batch, heads, count, width = held.shape
        buffer = torch.zeros(batch, heads, slots, width, dtype=held.dtype, device=held.device)
        buffer[:, :, :count] = held
        self._buffers[name] = buffer
        setattr(self, name, buffer[:, :, :count])
