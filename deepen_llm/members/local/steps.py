"""Forwards of fixed shapes: captured once as CUDA graphs, then replayed without launching each kernel."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Cache

from deepen_llm.members.local.layers import Block, Placement
from deepen_llm.members.local.slabs import Slab

if TYPE_CHECKING:
    from deepen_llm.members.local.model import CausalModel

LENGTHS = (1, 2, 4, 8)
"""Numbers of new tokens that have a forward of their own: one token, encoded again, or drafted."""
_BEFORE_CAPTURE = 2  # forwards of one shape that are not captured
_CAPTURING = Lock()
_WARM_UP = 2  # forwards before a capture, in which libraries allocate what they need


class FixedSteps:
    """Forwards over all rows and slots of a slab, by their number of new tokens.

    They stay with the slab, so that every text in it replays the same graphs.

    Args:
        model: The model.
        slab: The slab, all of whose layers are allocated.
    """

    def __init__(self, model: CausalModel, slab: Slab) -> None:
        self._model, self._cache, self._placement = model, slab.cache, slab.placement
        self._steps: dict[int, _FixedStep] = {}

    def read(self, blocks: Sequence[Sequence[int]], positions: Tensor, slots: Tensor) -> Tensor:
        """Read new ids of each row.

        Args:
            blocks: New ids of each of the first B rows, at most L.
            positions: Their positions, padded on the left to one of `LENGTHS`, ``[B, L]``.
            slots: Their slots, ``[B, L]``.

        Returns:
            Logits, ``[R, L, V]``, of which those of other rows and of padding have no meaning.
        """
        length = positions.shape[1]
        if length not in self._steps:
            self._steps[length] = _FixedStep(self._model, self._cache, self._placement, length)
        return self._steps[length].read(blocks, positions, slots)


class _FixedStep:
    """One forward of a fixed shape; see `FixedSteps`."""

    def __init__(self, model: CausalModel, cache: Cache, placement: Placement, length: int) -> None:
        self._model, self._cache, self._placement, self._seen = model, cache, placement, 0
        device, shape = model.device, (placement.rows, length)
        self._ids, self._positions = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        self._slots = torch.full_like(self._ids, placement.capacity - 1)
        rows = torch.arange(placement.rows, device=device)[:, None]
        self._block = Block(self._slots, placement.capacity, rows=rows)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = torch.empty(0)

    def read(self, blocks: Sequence[Sequence[int]], positions: Tensor, slots: Tensor) -> Tensor:
        """See `FixedSteps.read`."""
        count, length = positions.shape
        ids = torch.tensor([[*[0] * (length - len(block)), *block] for block in blocks])
        self._slots.fill_(self._placement.capacity - 1)  # of rows without a text
        for kept, new in ((self._ids, ids), (self._positions, positions), (self._slots, slots)):
            kept[:count].copy_(new, non_blocking=True)
        self._seen += 1
        self._placement.begin(self._block, self._placement.capacity - length)
        if self._graph is None and self._model.captures and self._seen > _BEFORE_CAPTURE:
            self._capture()
        if self._graph is None:
            return self._forward()
        self._graph.replay()
        return self._logits.clone()  # the next replay overwrites them

    def _forward(self) -> Tensor:
        return self._model.step(self._ids, self._cache, self._positions, self._placement.capacity)

    def _capture(self) -> None:
        """Capture the forward; where capturing fails, warn once and go on without."""
        device, graph = self._model.device, torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        try:
            # One capture at a time, on the model's own device; the stream is left also after a failed capture.
            with _CAPTURING, torch.cuda.device(device), torch.cuda.stream(side):
                for _ in range(_WARM_UP):  # each writes the same keys and values into the same slots
                    self._forward()
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    self._logits = self._forward()
            self._graph = graph
        except RuntimeError as error:
            self._model.captures = False
            warnings.warn(f"steps of a fixed shape cannot be captured, so they are slower: {error}", stacklevel=2)
        torch.cuda.current_stream(device).wait_stream(side)
