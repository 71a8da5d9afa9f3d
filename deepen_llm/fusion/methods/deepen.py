"""DEEPEN (Huang et al., arXiv 2404.12715), in the steps of docs/method.md.

1. Relative representations ``R_i``: `RelativeSpace`, in relative/space.py.
2. Relative distributions, ``r_i = p_i R_i``, and 3. aggregation, ``r̄ = Σ λ_i r_i``: this module.
4. Inverse transformation, the search for logits ``z`` with ``softmax(z) R_m`` near ``r̄``: relative/search.py.
5. Commit: the engine's loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from deepen_llm.fusion.base import Fusible, Fusion
from deepen_llm.fusion.relative.anchoring import AnchorGroup
from deepen_llm.fusion.relative.method import RelativeMethod
from deepen_llm.fusion.relative.rows import Rows
from deepen_llm.fusion.relative.search import Observer, search_logits
from deepen_llm.fusion.tunable import Number, Sweep, Tunable


class Deepen(RelativeMethod):
    """The paper's method.

    Attributes:
        relr: Relative ensemble learning rate η of the search; 0 leaves the main model as it is.
        search_steps: Number of search steps T.
    """

    title: ClassVar[str] = "the paper's method: a search in a relative space of embeddings"
    reference: ClassVar[str] = "arXiv 2404.12715"
    tunables: ClassVar[tuple[Tunable, ...]] = (
        Number(
            "relr", 0.05, 1.0, digits=4, log=True, label="relative ensemble learning rate η",
            sweep=Sweep((0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0)),
        ),
        Number(
            "search_steps", 1, 20, label="search steps T", sweep=Sweep((1, 2, 3, 5, 7, 10, 15, 20), loss=True)
        ),
        *RelativeMethod.tunables,
    )  # fmt: skip
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"relr": 0.3, "search_steps": 10})
    method: Literal["deepen"] = "deepen"
    relr: float = Field(0.15, ge=0, le=10)
    search_steps: int = Field(5, ge=0, le=1000)

    @override
    def prepare(self, members: Sequence[Fusible], main: int) -> Fusion:
        indices = list(range(len(members)))
        joint = self.anchors == "joint" and len(indices) > 1
        groups = [indices] if joint else [[main, i] for i in indices if i != main]
        return _DeepenFusion(self, members, main, self._spaces(members, groups, main))


class _DeepenFusion(Fusion):
    def __init__(self, method: Deepen, members: Sequence[Fusible], main: int, groups: Sequence[AnchorGroup]) -> None:
        super().__init__(members, main, portion=method.portion(groups))
        self._method, self._groups = method, groups

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return self._search(logits, weights)

    def _search_path(self, logits: Sequence[Tensor], weights: Tensor) -> list[tuple[Tensor, float]]:
        path: list[tuple[Tensor, float]] = []
        self._search(logits, weights, lambda z, objective: path.append((z, objective)))
        return path

    def _search(self, logits: Sequence[Tensor], weights: Tensor, observe: Observer | None = None) -> Tensor:
        p = [of_member.softmax(-1) for of_member in logits]  # N of [B, V_i]
        method = self._method
        rows = [group[self.main].view(p[self.main], method) for group in self._groups]
        targets = [
            self._aggregate(group, p, main_rows, weights) for group, main_rows in zip(self._groups, rows, strict=True)
        ]  # [B, A] each
        return search_logits(
            logits[self.main], targets, rows, relr=method.relr, search_steps=method.search_steps, observe=observe
        )

    def _aggregate(self, group: AnchorGroup, p: Sequence[Tensor], main_rows: Rows, weights: Tensor) -> Tensor:
        """``r̄ = Σ λ_i p_i R_i`` over one group's anchors, ``[B, A]``.

        The weight of members that are not in the group is added to the main model's.

        Args:
            group: The relative spaces of the group's members.
            p: Each member's distribution, ``[B, V_i]``.
            main_rows: The main model's relative representations in the group.
            weights: Aggregation weights, ``[B, N]``.
        """
        share = {i: weights[:, i : i + 1] for i in group if i != self.main}
        share[self.main] = 1 - torch.stack(list(share.values())).sum(0)
        views = {i: main_rows if i == self.main else group[i].view(p[i], self._method) for i in group}
        relative = {i: view.to_anchors_once(p[i]) for i, view in views.items()}
        device = p[self.main].device
        return torch.stack([share[i] * relative[i].to(device) for i in group]).sum(0)
