"""Initial weights: an induction circuit that copies, which a short training seldom learns by itself.

A head of the first layer attends to the previous token and writes it beside the token's own embedding. Heads of the
second layer attend to a position whose previous token is the current token, and output the token there. Training may
change all of these weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_CHANNEL = 32  # dimensions of the residual stream that hold the previous token, and that embeddings leave at 0
_SPREAD = 0.1  # of embeddings


@dataclass(frozen=True)
class _Head:
    """The slices of a layer's parameters that make one attention head.

    Args:
        query: Weights ``[size, width]`` and bias ``[size]``.
        key: The same.
        value: The same.
        out: Weights ``[width, size]``.
        norms: The scales of normalized queries and keys, ``[size]``; none in other architectures.
    """

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    out: Tensor
    norms: tuple[Tensor, ...]


@torch.no_grad()
def begin(model: PreTrainedModel) -> None:
    """Put the circuit into a model of random weights.

    Args:
        model: A Llama, Qwen3 or GPT-NeoX with biases in its attention; changed in place.
    """
    width = int(model.config.hidden_size)
    own = width - _CHANNEL
    embeddings, unembeddings = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    nn.init.normal_(embeddings, std=_SPREAD)
    embeddings[:, own:] = 0
    unembeddings.copy_(embeddings)
    rows = torch.linalg.qr(torch.randn(own, own)).Q  # orthonormal directions to read tokens along
    frequencies = model.base_model.rotary_emb.inv_freq
    before, *_ = _heads(model, 0)
    size = before.out.shape[1]
    still = _unturned(size, frequencies)
    _look_before(before, frequencies)
    before.value[0].zero_()
    before.value[0][still, :own] = rows[: len(still)]
    before.out.zero_()
    before.out[own + torch.arange(len(still)), still] = 0.2
    for number, head in enumerate(_heads(model, 1)[:3]):
        _match(head, still, rows, own)
        read = rows.roll(-number * size, 0)[:size]
        head.value[0].zero_()
        head.value[0][:, :own] = read
        head.out.zero_()
        head.out[:own] = 0.4 * read.T


def _look_before(head: _Head, frequencies: Tensor) -> None:
    """Biases whose rotary product is the largest between a token and the one before it."""
    half = len(frequencies)
    strength = 2.0 if head.norms else 6.0
    head.key[1][:half] += strength
    head.query[1][:half] += strength * frequencies.cos()
    head.query[1][half : 2 * half] -= strength * frequencies.sin()
    for norm in head.norms:
        for i in (0, 1, 2):  # the fastest rotations differ most between neighboring positions
            norm[i] = norm[half + i] = 5.0


def _match(head: _Head, still: Tensor, rows: Tensor, own: int) -> None:
    """Set a query to the current token, and a key to the previous token."""
    for weights, _ in (head.query, head.key):
        weights.zero_()
    head.query[0][still, :own] = 2.0 * rows[: len(still)]
    head.key[0][still, own + torch.arange(len(still))] = 2.0
    for norm in head.norms:
        norm[still] = 2.0


def _unturned(size: int, frequencies: Tensor) -> Tensor:
    """The dimensions of a head that rotary positions do not rotate, or rotate least."""
    half = len(frequencies)
    if 2 * half < size:
        return torch.arange(2 * half, size)
    slow = torch.arange(half // 2, half)
    return torch.cat([slow, slow + half])


def _heads(model: PreTrainedModel, number: int) -> list[_Head]:
    """The heads of a layer with separate keys."""
    layer = model.base_model.layers[number]
    if hasattr(layer, "attention"):
        return _fused(layer.attention, int(model.config.num_attention_heads))
    attention = layer.self_attn
    size, keys = int(attention.head_dim), int(model.config.num_key_value_heads)
    apart = int(model.config.num_attention_heads) // keys
    norms = [getattr(attention, name).weight for name in ("q_norm", "k_norm") if hasattr(attention, name)]

    def part(projection: nn.Linear, at: int) -> tuple[Tensor, Tensor]:
        return projection.weight[at * size :][:size], projection.bias[at * size :][:size]

    return [
        _Head(
            part(attention.q_proj, at * apart),
            part(attention.k_proj, at),
            part(attention.v_proj, at),
            attention.o_proj.weight[:, at * apart * size :][:, :size],
            tuple(norms),
        )
        for at in range(keys)
    ]


def _fused(attention: Any, count: int) -> list[_Head]:
    weights, biases = attention.query_key_value.weight, attention.query_key_value.bias
    size = weights.shape[0] // (3 * count)
    parts = [(weights[at:][:size], biases[at:][:size]) for at in range(0, 3 * count * size, size)]
    outs = [attention.dense.weight[:, at * size :][:, :size] for at in range(count)]
    return [_Head(*made, ()) for made in zip(parts[::3], parts[1::3], parts[2::3], outs, strict=True)]
