"""One-token forwards of a fixed shape: captured once as a CUDA graph, then replayed without launching each kernel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepen_llm.members.local.slots import SlotCache

if TYPE_CHECKING:
    from deepen_llm.members.local.model import CausalModel

_STEPS_BEFORE_CAPTURE = 4  # of one shape
_CAPTURING = Lock()
_WARM_UP = 2  # forwards before a capture, in which libraries allocate what they need


class FixedSteps:
    """One-token forwards over one slot cache.

    The cache grows and is rolled back between the steps, outside the captured graph; a new shape (more sequences, a
    larger buffer) is captured anew.

    Args:
        model: The model.
    """

    def __init__(self, model: CausalModel) -> None:
        self._model = model
        self._shape: tuple[int, ...] = ()
        self._seen = 0

    def read(self, blocks: Sequence[Sequence[int]], cache: SlotCache, positions: Tensor) -> Tensor:
        """Read at most one new id of each sequence into a cache that was extended for them.

        Args:
            blocks: New ids of each sequence, one or none.
            cache: The cache.
            positions: Position ids ``[B, 1]``.

        Returns:
            Logits after the block, ``[B, V]``.
        """
        count, slots = cache.alive.shape
        capacity = cache.reserve()
        shape = (count, capacity, *(address for layer in cache.layers() for address in layer.addresses))
        if shape != self._shape:
            self._shape, self._seen = shape, 0
            self._allocate(count, capacity)
        self._fill(blocks, cache.alive, positions, slots - 1)
        self._seen += 1
        with _fixed_at(cache, self._slot, slots):
            return self._run(cache)

    def _allocate(self, count: int, capacity: int) -> None:
        device, dtype = self._model.device, self._model.dtype
        self._ids = torch.zeros(count, 1, dtype=torch.long, device=device)
        self._positions = torch.zeros_like(self._ids)
        self._mask = torch.zeros(count, 1, 1, capacity, dtype=dtype, device=device)
        self._slot = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = torch.empty(0)

    def _fill(self, blocks: Sequence[Sequence[int]], alive: Tensor, positions: Tensor, slot: int) -> None:
        """Write a step's inputs into the tensors that the captured forward reads."""
        mask = torch.full(self._mask.shape, torch.finfo(self._mask.dtype).min, dtype=self._mask.dtype)
        mask[:, 0, 0, : alive.shape[1]].masked_fill_(alive, 0.0)
        self._mask.copy_(mask, non_blocking=True)
        self._ids.copy_(torch.tensor([[*block, 0][:1] for block in blocks]), non_blocking=True)
        self._positions.copy_(positions, non_blocking=True)
        self._slot.copy_(torch.tensor([slot]), non_blocking=True)

    def _run(self, cache: SlotCache) -> Tensor:
        if self._graph is None and self._model.captures and self._seen > _STEPS_BEFORE_CAPTURE:
            self._capture(cache)
        if self._graph is None:
            return self._forward(cache)
        self._graph.replay()
        return self._logits.clone()  # the next replay overwrites them

    def _forward(self, cache: SlotCache) -> Tensor:
        return self._model.step(self._ids, cache.cache, self._mask, self._positions)

    def _capture(self, cache: SlotCache) -> None:
        """Capture the forward; where capturing fails, warn once and go on without."""
        device, graph = self._model.device, torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        try:
            # One capture at a time, on the model's own device; the stream is left also after a failed capture.
            with _CAPTURING, torch.cuda.device(device), torch.cuda.stream(side):
                for _ in range(_WARM_UP):  # each writes the same keys and values into the same slot
                    self._forward(cache)
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    self._logits = self._forward(cache)
            self._graph = graph
        except RuntimeError as error:
            self._model.captures = False
            warnings.warn(f"one-token steps cannot be captured, so they are slower: {error}", stacklevel=2)
        torch.cuda.current_stream(device).wait_stream(side)


@contextmanager
def _fixed_at(cache: SlotCache, slot: Tensor, count: int) -> Iterator[None]:
    """All layers write into one slot and keep their shape; afterwards the first ``count`` slots count as held."""
    for layer in cache.layers():
        layer.slot = slot
    try:
        yield
    finally:
        for layer in cache.layers():
            layer.slot = None
            layer.show(count)
