"""The model side of a member whose `transformers` model runs in this process."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from transformers import PreTrainedModel

from deepen_llm.errors import LoadError
from deepen_llm.members.local.limits import bytes_per_token, window_in
from deepen_llm.members.local.model import CausalModel
from deepen_llm.members.local.quantization import keep_odd_shapes_plain
from deepen_llm.members.local.traits import CacheSupport
from deepen_llm.members.model_side import ModelSide
from deepen_llm.members.transformers_api import has_virtual_tokens


class LocalModel(ModelSide):
    """A causal language model in this process.

    Contexts need the member's tokenizer too, so `LocalMember` opens them.

    Args:
        model: The model; it is switched to evaluation.
        name: What messages call the member.
        compile: Compile one-token steps; see `MemberConfig`.

    Attributes:
        model: The model.
        causal: Its forward, with the arguments that it takes.
        width: Number of tokens that have both a logit and an embedding.

    Raises:
        LoadError: It is no causal language model, or it is on the meta device and accelerate does not load it from
            there.

    Warns:
        UserWarning: Its cache cannot be rolled back, so it reads the whole text at every step.
    """

    def __init__(self, model: PreTrainedModel, name: str, *, compile: bool = False) -> None:  # noqa: A002 - torch's
        _refuse_encoder_decoder(model, name)
        keep_odd_shapes_plain(model)
        self.model, self.causal, self.width = model, CausalModel(model), _width(model)
        self.device = self.causal.device
        self.embedding, self.missing_embedding = _plain_embedding(self.causal.embedding, self.width)
        self.context_length = window_in(model.config)
        self.weight_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        self.bytes_per_token = bytes_per_token(model.config, self.causal.dtype)
        if compile:
            self.causal.compile()
        if self.causal.traits.cache_support is CacheSupport.NONE:
            warnings.warn(
                f"member {name} ({type(model).__name__}) has {CacheSupport.NONE.value}: it reads the whole text afresh "
                "at every step, which is slow",
                stacklevel=3,
            )


def _plain_embedding(table: Tensor, width: int) -> tuple[Tensor | None, str]:
    """The embeddings ``[V_i, D_i]`` as fusion can read them; else None, and the reason."""
    if table.is_meta:
        return None, "are offloaded"
    if type(table) is not Tensor or not table.is_floating_point() or table.itemsize < 2:
        return None, "are quantized"
    return table[:width], ""


def _width(model: PreTrainedModel) -> int:
    """Number of tokens that have both a logit and an embedding.

    A quantized weight may be packed; then the module's attribute shows it, and not the weight's shape.
    """
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    logits, tokens = _token_count(head), _token_count(table)
    return min(
        int(head.out_features) if logits is None else logits,
        int(table.num_embeddings) if tokens is None else tokens,
    )


def _token_count(module: torch.nn.Module) -> int | None:
    """Length of a module's plain weight ``[V, D]``; None where it is packed."""
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 2 and weight.is_floating_point():
        return weight.shape[0]
    return None


def _refuse_encoder_decoder(model: PreTrainedModel, name: str) -> None:
    if model.config.is_encoder_decoder or model.get_output_embeddings() is None:
        raise LoadError(
            f"member {name} ({type(model).__name__}) is no causal language model",
            hint="load it with AutoModelForCausalLM; encoder-decoder models and models without a head cannot take part",
        )
    if has_virtual_tokens(model):
        raise LoadError(
            f"member {name} has an adapter that adds virtual tokens to each text, which no member can have",
            hint="take an adapter that changes weights, such as LoRA, or the model without one",
        )
