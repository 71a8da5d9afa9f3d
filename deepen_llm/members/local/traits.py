"""What a model's architecture allows: how it remembers, and how much it can read at once."""

from __future__ import annotations

from enum import Enum

from transformers import PreTrainedModel

from deepen_llm.members.transformers_api import (
    Arguments,
    Layer,
    base_of,
    cache_layers,
    device_of,
    has_fixed_shapes,
    is_stateful,
    rope_parameters,
)


class CacheSupport(Enum):
    """How a model can remember what it has read."""

    BATCHED = "key-value cache that rows share"
    ROWWISE = "key-value cache, a row each: it counts slots"
    NONE = "no cache that can be rolled back"


class Traits:
    """What follows from a model's class and configuration.

    Args:
        model: The model.

    Attributes:
        arguments: What its forward takes by name.
        cache_support: How it can remember what it has read.
        rescales_at: The length above which all positions are encoded in another way (longrope), so that no cache goes
            across; None where there is none.
        reads_ahead: Whether several tokens read at once give what they give one by one: not where the longest text
            rescales.
        one_at_a_time: Whether the model keeps in itself what it computes of a text's length, as transformers does for
            some rotary positions: another thread's forward would change it in between.
        fixed_steps: Whether one-token steps can have a fixed shape: position ids and masks are given, and no value
            steers the model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.arguments = Arguments.of(model)
        self._config = model.config.get_text_config(decoder=True)
        self._ropes = {str(one.get("rope_type")): one for one in rope_parameters(self._config)}
        self.one_at_a_time = not self._ropes.keys().isdisjoint({"dynamic", "longrope"})
        self.cache_support = self._cache_support(model)
        self.rescales_at = self._rescales_at()
        self.reads_ahead = self.cache_support is not CacheSupport.NONE and "dynamic" not in self._ropes
        self.fixed_steps = (
            self.cache_support is CacheSupport.BATCHED
            and has_fixed_shapes(model)
            and "position_ids" in self.arguments.names
            and not getattr(self._config, "alibi", False)  # Falcon's, which is made of a mask of two dimensions
            and {one.device for one in model.parameters()} == {device_of(model)}
        )

    def _cache_support(self, model: PreTrainedModel) -> CacheSupport:
        if is_stateful(model) or self.arguments.cache is None:
            return CacheSupport.NONE
        layers = cache_layers(base_of(model).config)
        if Layer.RECURRENT in layers:
            return CacheSupport.NONE
        slots_alike = layers <= {Layer.FULL, Layer.NOTHING} and not self._counts_slots()
        return CacheSupport.BATCHED if slots_alike else CacheSupport.ROWWISE

    def _counts_slots(self) -> bool:
        """Whether a dead slot would change what the model sees: as a position, in a window, or as the longest row."""
        # BLOOM makes positions of the mask
        own_positions = "position_ids" not in self.arguments.names and self._config.model_type != "bloom"
        local = "local" in getattr(self._config, "attention_layers", ())
        return own_positions or local or self.one_at_a_time

    def _rescales_at(self) -> int | None:
        if (rope := self._ropes.get("longrope")) is None:
            return None
        own, config = rope.get("original_max_position_embeddings"), self._config
        return int(own or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))
