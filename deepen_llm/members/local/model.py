"""The forward of one `transformers` model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, overload
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from deepen_llm.members.local.layers import Block
from deepen_llm.members.local.slabs import SlabPool
from deepen_llm.members.local.traits import Traits
from deepen_llm.members.transformers_api import device_of, embedding_of, weights_state

_LOCKS: WeakKeyDictionary[PreTrainedModel, threading.Lock] = WeakKeyDictionary()  # members may share a model


class CausalModel:
    """A causal language model's forward, with the arguments that it takes.

    Args:
        model: The model; it is switched to evaluation.

    Attributes:
        traits: What its architecture allows.
        embedding: Input token embeddings as the model has them, ``[V_i, D_i]``: perhaps quantized, or offloaded.
        device: The device of its inputs.
        dtype: The type of its weights.
        fixed_steps: Whether forwards of few new tokens have a fixed shape.
        captures: Whether they are captured as CUDA graphs; False once a capture has failed.
        slabs: Buffers for keys and values that no text uses now.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self.traits = model.eval(), Traits(model)
        self._names = self.traits.arguments.names
        self.embedding = embedding_of(model)
        self.device, self.dtype = device_of(model), model.dtype
        self._step: Callable[..., Any] = self._model
        self._lock = _LOCKS.setdefault(model, threading.Lock()) if self.traits.one_at_a_time else nullcontext()
        self.slabs = SlabPool(self.device, self.weights_state)
        self.fixed_steps = self.captures = self.device.type == "cuda" and self.traits.fixed_steps

    def weights_state(self) -> object:
        """See `transformers_api.weights_state`."""
        return weights_state(self._model)

    def compile(self) -> None:
        """Compile one-token steps, where they can have a fixed shape."""
        if self.traits.fixed_steps:
            self.fixed_steps, self._step = True, torch.compile(self._model, dynamic=False)

    def read(
        self,
        blocks: Sequence[Sequence[int]],
        cache: Cache,
        mask: Tensor | None,
        positions: Tensor,
        ends: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Read each sequence's new ids into the cache.

        Args:
            blocks: New ids of each sequence; padded on the left here.
            cache: The key-value cache; it is extended.
            mask: See `mask`.
            positions: Position ids of the block, ``[B, block]``.
            ends: P pairs of a sequence and how many ids of its block follow (0 for the last id).

        Returns:
            Logits after these ids, ``[P, V]``.
        """
        longest = positions.shape[1]
        ids = torch.tensor([[*[0] * (longest - len(block)), *block] for block in blocks])
        offsets = sorted({offset for _, offset in ends})
        options: dict[str, Any] = {"attention_mask": self._sent(mask), **self._cached(cache), "use_cache": True}
        if "position_ids" in self._names:
            options["position_ids"] = self._sent(positions)
        keep = self._sent(torch.tensor([longest - 1 - offset for offset in offsets]))
        if "logits_to_keep" in self._names:
            options["logits_to_keep"] = keep
        with self._lock, self._own_types():
            logits: Tensor = self._model(input_ids=self._sent(ids), **options).logits
        if logits.shape[1] != len(offsets):
            logits = logits[:, keep.to(logits.device)]
        if len(offsets) == 1 and [sequence for sequence, _ in ends] == list(range(len(blocks))):
            return logits[:, 0].to(self.device)
        index = [[sequence, offsets.index(offset)] for sequence, offset in ends]
        sequences, columns = self._sent(torch.tensor(index, dtype=torch.long).T)
        return logits.to(self.device)[sequences, columns]

    def mask(self, positions: Tensor, block: Block) -> Tensor | None:
        """The attention mask of a block of new tokens, each of which sees the slots up to its own position.

        Args:
            positions: The tokens' positions, ``[B, L]``.
            block: Where they are written.

        Returns:
            None where all tokens see all slots, or nothing was read before. ``[B, slots]`` where all rows have the same
            positions: transformers makes it triangular. Else ``[B, 1, L, slots]``.
        """
        if block.before is None:
            return self._triangular(self._sent(positions), block.total)
        # Several tokens after others keep their mask: the one that StableLM makes in transformers 5.0 is too long.
        needs_none = positions.shape[1] == 1 or not block.before
        return None if needs_none else torch.ones(len(positions), block.total, dtype=torch.long)

    def step(self, ids: Tensor, cache: Cache, positions: Tensor, slots: int) -> Tensor:
        """A forward of a fixed shape, in which no value steers what is computed.

        Args:
            ids: ``[B, L]``.
            cache: The key-value cache, whose layers keep their shape.
            positions: ``[B, L]``.
            slots: The number of slots.

        Returns:
            Logits ``[B, L, V]``.
        """
        mask = self._triangular(positions, slots)
        forward = self._step if ids.shape[1] == 1 else self._model
        with self._own_types():
            out = forward(input_ids=ids, attention_mask=mask, position_ids=positions, **self._cached(cache))
        return out.logits  # type: ignore[no-any-return]

    def _own_types(self) -> torch.autocast:
        """Compute in the weights' types, also under a caller's autocast: later texts go on from these states."""
        return torch.autocast(self.device.type, enabled=False)

    def _triangular(self, positions: Tensor, slots: int) -> Tensor:
        """Which slots each token sees, ``[B, 1, L, slots]``: for eager attention, what is added to its scores."""
        sees = torch.arange(slots, device=positions.device) <= positions[:, None, :, None]
        if not self.traits.adds_mask:
            return sees
        zero = torch.zeros((), dtype=self.dtype, device=positions.device)
        return torch.where(sees, zero, torch.finfo(self.dtype).min)

    def logits_of(self, ends: Sequence[tuple[int, int]], logits: Tensor) -> Tensor:
        """Some of the logits ``[B, L, V]`` after the ids of a block, ``[P, V]``; see `read`."""
        length = logits.shape[1]
        if length == 1 and [row for row, _ in ends] == list(range(len(logits))):
            return logits[:, 0]
        rows, columns = self._sent(torch.tensor([[row, length - 1 - offset] for row, offset in ends]).T)
        return logits[rows, columns]

    def read_afresh(self, ids: Sequence[int], last: int = 1) -> Tensor:
        """Logits after each of the last ids of one text, ``[last, V]``, without a cache."""
        options: dict[str, Any] = {"use_cache": False} if "use_cache" in self._names else {}
        with self._lock, self._own_types():
            logits: Tensor = self._model(input_ids=self._sent(torch.tensor([list(ids)])), **options).logits
        return logits[0, -last:].to(self.device)

    def _cached(self, cache: Cache) -> dict[str, Cache]:
        """The cache as a keyword argument of the forward."""
        name = self.traits.arguments.cache
        assert name is not None  # noqa: S101 - without it `CacheSupport` is NONE, and `read_afresh` is called
        return {name: cache}

    @overload
    def _sent(self, tensor: Tensor) -> Tensor: ...
    @overload
    def _sent(self, tensor: None) -> None: ...
    def _sent(self, tensor: Tensor | None) -> Tensor | None:
        """A tensor on the model's device; the copy does not wait for what the device computes."""
        return None if tensor is None else tensor.to(self.device, non_blocking=True)
