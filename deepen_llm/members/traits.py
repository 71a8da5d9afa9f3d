"""What a model's architecture allows: how it remembers, and how much it can read at once."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class Memory(Enum):
    """How a model can remember what it has read."""

    BATCHED = "key-value cache that rows share"
    ROWWISE = "key-value cache, a row each: it counts slots"
    NONE = "no cache that can be rolled back"


class Traits:
    """What follows from a model's class and configuration.

    Args:
        model: The model.

    Attributes:
        accepts: What its forward takes by name.
        memory: How it can remember what it has read.
        rescales_at: The length above which all positions are encoded in another way (longrope), so that no cache goes
            across; None where there is none.
        reads_ahead: Whether several tokens read at once give what they give one by one: not where the longest text
            rescales.
        fixed_steps: Whether one-token steps can have a fixed shape: position ids and masks are given, and no value
            steers the model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.accepts = _parameters(model)
        self._config = model.config.get_text_config(decoder=True)
        self._rope: dict[str, Any] = getattr(self._config, "rope_parameters", None) or {}
        self.memory = self._memory(model)
        self.rescales_at = self._rescales_at()
        self.reads_ahead = self.memory is not Memory.NONE and self._rope.get("rope_type") != "dynamic"
        self.fixed_steps = (
            self.memory is Memory.BATCHED
            and bool(getattr(model, "_can_compile_fullgraph", False))
            and getattr(model.config, "_attn_implementation", None) in {"sdpa", "eager"}
            and "position_ids" in self.accepts
            and not getattr(self._config, "alibi", False)  # Falcon's, which is made of a mask of two dimensions
            and len({one.device for one in model.parameters()}) == 1
        )

    def _memory(self, model: PreTrainedModel) -> Memory:
        if getattr(model, "_is_stateful", False) or not self.accepts & {"past_key_values", "cache"}:
            return Memory.NONE
        kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
        if not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
            return Memory.NONE
        return Memory.BATCHED if kinds <= {DynamicLayer} and not self._counts_slots() else Memory.ROWWISE

    def _counts_slots(self) -> bool:
        """Whether a dead slot would change what the model sees: as a position, in a window, or as the longest row."""
        own_positions = "position_ids" not in self.accepts and self._config.model_type != "bloom"  # it counts the mask
        local = "local" in getattr(self._config, "attention_layers", ())
        return own_positions or local or self._rope.get("rope_type") in {"dynamic", "longrope"}

    def _rescales_at(self) -> int | None:
        if self._rope.get("rope_type") != "longrope":
            return None
        own, config = self._rope.get("original_max_position_embeddings"), self._config
        return int(own or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))


def _parameters(model: PreTrainedModel) -> set[str]:
    """What the model's forward takes by name, looked for beneath adapters and overrides that pass everything on."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kinds = [kind for kind in type(base).__mro__ if hasattr(kind, "forward")]
    names = [set(inspect.signature(kind.forward).parameters) for kind in kinds]
    return next((known for known in names if "input_ids" in known), set())
