"""What a model's architecture allows: which cache it has, and whether it can read several tokens at once."""

from __future__ import annotations

from enum import Enum

from transformers import PreTrainedModel

from deepen_llm.members.transformers_api import (
    Arguments,
    Layer,
    attention_of,
    base_of,
    cache_layers,
    device_of,
    has_fixed_shapes,
    is_stateful,
    rope_parameters,
)


class CacheSupport(Enum):
    """Which cache a model can have."""

    BATCHED = "one key-value cache for all sequences"
    PER_SEQUENCE = "a key-value cache for each sequence, since attention counts slots"
    NONE = "no cache that can be rolled back"


class Traits:
    """What follows from a model's class and configuration.

    Args:
        model: The model.

    Attributes:
        arguments: What its forward takes by name.
        cache_support: Which cache it can have.
        rescales_at: The length above which all positions are encoded in another way (longrope), so that a cache of a
            shorter text cannot be extended; None where there is none.
        reads_ahead: Whether several tokens read at once have the logits that they have one by one. Not with dynamic
            rotary positions, which depend on the length of the whole text.
        reads_in_parts: Whether a text's beginning may be read before its end is known. Not where all positions depend
            on the length of the whole text (dynamic and longrope rotary positions).
        one_at_a_time: Whether the model stores what it computes from a text's length, as transformers does for some
            rotary positions: another thread's forward would overwrite it.
        adds_mask: Whether attention adds its mask to scores (``eager``); else it takes one of booleans (``sdpa``).
        fixed_steps: Whether forwards can have a fixed shape: position ids and masks are arguments, and no value
            steers the model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.arguments = Arguments.of(model)
        self._config = model.config.get_text_config(decoder=True)
        self._ropes = {str(rope.get("rope_type")): rope for rope in rope_parameters(self._config)}
        self.one_at_a_time = not self._ropes.keys().isdisjoint({"dynamic", "longrope"})
        attention = attention_of(model)
        self.adds_mask = attention == "eager"
        self.cache_support = self._cache_support(model, takes_mask=attention in ("eager", "sdpa"))
        self.rescales_at = self._rescales_at()
        self.reads_ahead = self.cache_support is not CacheSupport.NONE and "dynamic" not in self._ropes
        self.reads_in_parts = self.cache_support is not CacheSupport.NONE and not self.one_at_a_time
        self.fixed_steps = (
            self.cache_support is CacheSupport.BATCHED
            and has_fixed_shapes(model)
            and {weight.device for weight in model.parameters()} == {device_of(model)}
        )

    def _cache_support(self, model: PreTrainedModel, *, takes_mask: bool) -> CacheSupport:
        if is_stateful(model) or self.arguments.cache is None:
            return CacheSupport.NONE
        layers = cache_layers(base_of(model).config)
        if Layer.RECURRENT in layers:
            return CacheSupport.NONE
        masks_slots = takes_mask and layers <= {Layer.FULL, Layer.NOTHING} and not self._counts_slots()
        return CacheSupport.BATCHED if masks_slots else CacheSupport.PER_SEQUENCE

    def _counts_slots(self) -> bool:
        """Whether a masked slot would change the logits: as a position, in a window, or as part of the longest text."""
        # BLOOM, and Falcon with ALiBi, derive positions from a mask of two dimensions.
        own_positions = "position_ids" not in self.arguments.names or getattr(self._config, "alibi", False)
        local = "local" in getattr(self._config, "attention_layers", ())
        return own_positions or local or self.one_at_a_time

    def _rescales_at(self) -> int | None:
        if (rope := self._ropes.get("longrope")) is None:
            return None
        of_rope, config = rope.get("original_max_position_embeddings"), self._config
        return int(of_rope or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))
