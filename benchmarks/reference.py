"""The reference loop: DEEPEN as in the published code, reimplemented from its description (arXiv 2404.12715).

For every token, each member's whole text is encoded and run without a cache, dense fp32 relative representations
transform the distributions, and five AdamW steps through autograd find the main model's logits. It is the baseline of
speed; `deepen_llm.fusion.methods.deepen` gives the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.floor import Pair

_BLOCK = 1024  # rows of a matrix made at a time


class ReferenceLoop:
    """Greedy decoding, the main model first.

    Args:
        pairs: Models with their tokenizers.
        anchors: Each member's ids of the shared anchors, ``[N, A]``.
        relr: Relative ensemble learning rate.
        search_steps: Search steps.
    """

    def __init__(self, pairs: Sequence[Pair], anchors: Tensor, *, relr: float = 0.15, search_steps: int = 5) -> None:
        self._pairs, self._relr, self._steps = list(pairs), relr, search_steps
        self._relative = [
            relative_representations(model.get_input_embeddings().weight.detach(), ids)
            for (model, _), ids in zip(pairs, anchors, strict=True)
        ]

    def next_logits(self, text: str) -> Tensor:
        """Compute the fused logits after a text, ``[V_m]``."""
        return self.fuse([self._read(pair, text) for pair in self._pairs])

    def append(self, text: str, token: int) -> str:
        """Append a main-model token to the text."""
        return text + str(self._pairs[0][1].decode([token]))

    def fuse(self, logits: Sequence[Tensor]) -> Tensor:
        """Search from the main model's logits ``[V_m]`` for the members' average in the relative space."""
        relative = [one.softmax(-1) @ matrix for one, matrix in zip(logits, self._relative, strict=True)]
        target = torch.stack(relative).mean(0)  # [A]
        z = logits[0].clone().requires_grad_()
        optimizer = torch.optim.AdamW([z], lr=self._relr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=self._relr / 4)
        for _ in range(self._steps):
            optimizer.zero_grad()
            found = (z.softmax(-1) @ self._relative[0]).log()
            loss = F.kl_div(found, target, reduction="none").mean()  # KLDivLoss(), without its warning
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        return z.detach()

    @torch.no_grad()
    def _read(self, pair: Pair, text: str) -> Tensor:
        model, tokenizer = pair
        ids = tokenizer(text, return_tensors="pt").input_ids.to(model.device)
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()  # type: ignore[no-any-return]


@torch.no_grad()
def relative_representations(embedding: Tensor, anchors: Tensor) -> Tensor:
    """``softmax(100 · S)`` with L2-normalized rows of cosines S, fp32 ``[V, A]``."""
    units = F.normalize(embedding.float(), dim=-1)
    marks, out = units[anchors].T, torch.empty(len(units), len(anchors))
    for first in range(0, len(units), _BLOCK):
        out[first : first + _BLOCK] = (100 * F.normalize(units[first : first + _BLOCK] @ marks, dim=-1)).softmax(-1)
    return out
