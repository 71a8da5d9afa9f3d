"""One `transformers` model, asked for logits."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class Memory(Enum):
    """How a model can remember what it has read."""

    BATCHED = "key-value cache that rows share"
    ROWWISE = "key-value cache, a row each: it counts slots"
    NONE = "no cache that can be rolled back"


class CausalModel:
    """A causal language model's forward, with the arguments that it takes.

    Args:
        model: The model; it is switched to evaluation.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._accepts = _parameters(model)
        self.embedding: Tensor = model.get_input_embeddings().weight.detach()
        self.device = self.embedding.device

    def memory(self) -> Memory:
        """How this model can remember what it has read."""
        if getattr(self._model, "_is_stateful", False) or "past_key_values" not in self._accepts:
            return Memory.NONE
        kinds = {type(layer) for layer in DynamicCache(config=self._model.config).layers}
        if not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
            return Memory.NONE
        return Memory.BATCHED if kinds <= {DynamicLayer} and not self._counts_slots() else Memory.ROWWISE

    def _counts_slots(self) -> bool:
        """Whether a dead slot would change what the model sees: as a position, in a window, or as the longest row."""
        config = self._model.config.get_text_config(decoder=True)
        own_positions = "position_ids" not in self._accepts and config.model_type != "bloom"  # which counts the mask
        local = "local" in getattr(config, "attention_layers", ())
        return own_positions or local or self._rope().get("rope_type") in {"dynamic", "longrope"}

    def rescales_at(self) -> int | None:
        """The length above which all positions are encoded in another way (longrope), so that no cache goes across."""
        rope, config = self._rope(), self._model.config.get_text_config(decoder=True)
        if rope.get("rope_type") != "longrope":
            return None
        own = rope.get("original_max_position_embeddings")
        return int(own or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))

    def _rope(self) -> dict[str, Any]:
        config = self._model.config.get_text_config(decoder=True)
        return getattr(config, "rope_parameters", None) or {}

    def read(
        self,
        blocks: Sequence[Sequence[int]],
        cache: DynamicCache,
        mask: Tensor,
        positions: Tensor,
        rows: Sequence[int],
        last: Sequence[int],
    ) -> Tensor:
        """Read each row's new ids into the cache.

        Args:
            blocks: New ids of each row; padded on the right here.
            cache: The key-value cache; it is extended.
            mask: Attention mask ``[B, slots]`` with the new block.
            positions: Position ids of the block, ``[B, block]``.
            rows: The rows whose logits are wanted.
            last: The place in the block of each wanted row's last id.

        Returns:
            Logits at these places, ``[len(rows), V]``.
        """
        longest = positions.shape[1]
        ids = torch.tensor([[*block, *[0] * (longest - len(block))] for block in blocks], device=self.device)
        places = sorted(set(last))
        options: dict[str, Any] = {"attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if "position_ids" in self._accepts:
            options["position_ids"] = positions
        keep = torch.tensor(places, device=self.device)
        if "logits_to_keep" in self._accepts:
            options["logits_to_keep"] = keep
        logits: Tensor = self._model(input_ids=ids, **options).logits
        if logits.shape[1] != len(places):
            logits = logits[:, keep.to(logits.device)]
        return logits.to(self.device)[list(rows), [places.index(place) for place in last]]

    def read_afresh(self, ids: Sequence[int]) -> Tensor:
        """Logits after the last id of one text, ``[1, V]``, without a cache."""
        options: dict[str, Any] = {"use_cache": False} if "use_cache" in self._accepts else {}
        logits: Tensor = self._model(input_ids=torch.tensor([list(ids)], device=self.device), **options).logits
        return logits[:, -1].to(self.device)


def _parameters(model: PreTrainedModel) -> set[str]:
    """What the model's forward takes by name, looked for beneath adapters and overrides that pass everything on."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kinds = [kind for kind in type(base).__mro__ if hasattr(kind, "forward")]
    names = [set(inspect.signature(kind.forward).parameters) for kind in kinds]
    return next((known for known in names if "input_ids" in known), set())
