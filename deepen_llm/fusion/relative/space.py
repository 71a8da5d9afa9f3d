"""Relative representations: each token as its similarities to the anchors (arXiv 2404.12715, 3.2).

The shape legend of the whole package: ``N`` members, ``B`` sequences of a batch, ``V`` tokens of a vocabulary,
``D`` embedding dimensions, ``A`` anchors, ``K`` tokens that get a row each, ``U`` these over a whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deepen_llm.fusion.relative.cosines import Cosines
from deepen_llm.fusion.relative.layout import SpaceOptions, kept_layout, normalize_, softmax_
from deepen_llm.fusion.relative.likely import RowOptions, likely_tokens, needed_tokens, needs_fixed_shapes
from deepen_llm.fusion.relative.row_cache import RowCache
from deepen_llm.fusion.relative.rows import AnchorsFirst, DenseRows, Rows, TopRows

_EXACT_COSINES = 2**24  # products up to which a dense matrix is built in the published arithmetic
_EXACT_BYTES = 4 * 2**20  # working memory of that


class RelativeSpace:
    """One member's relative space over given anchors.

    Args:
        embedding: The member's input token embeddings, ``[V, D]``, in any floating type. Kept, not copied.
        anchors: The member's ids of the anchors, ``[A]``.
        options: The layout of the space.
        size: The width of the member's logits, which may exceed the embedding's rows.
        dense: Whether to keep all rows as one ``[V, A]`` matrix; else they are made when needed.
        kept_bytes: Where not dense and on a CPU: the memory in which rows of frequent tokens are kept.
    """

    def __init__(
        self,
        embedding: Tensor,
        anchors: Tensor,
        options: SpaceOptions,
        size: int,
        *,
        dense: bool,
        kept_bytes: int = 0,
    ) -> None:
        self.anchors = anchors.to(embedding.device)
        self._options, count = options, len(anchors)
        self._vocabulary = AnchorsFirst.of(self.anchors, size)
        self._cosines = Cosines(embedding, self.anchors, center=options.center)
        others = self._vocabulary.order[count:]
        others = others[others < len(embedding)]
        self.layout = kept_layout(self._cosines, embedding, self.anchors, others, options)
        self._fixed_shapes = needs_fixed_shapes(self.device)
        self._cache = RowCache(0 if self._fixed_shapes else min(size, kept_bytes // (4 * count)), count)
        self._dense = self._all_rows() if dense else None

    @property
    def device(self) -> torch.device:
        """Where the rows are computed."""
        return self._cosines.device

    @property
    def size(self) -> int:
        """The width of the member's logits, V."""
        return len(self._vocabulary.order)

    @property
    def dense(self) -> bool:
        """Whether all rows are kept."""
        return self._dense is not None

    def rows(self, tokens: Tensor) -> Tensor:
        """Relative representations ``softmax(temperature · S[v])`` of some tokens: ``[K]`` to ``[K, A]``."""
        if self._dense is not None:
            return self._dense[tokens]
        return self._write(tokens, torch.empty(len(tokens), len(self.anchors), device=self.device))

    def view(self, p: Tensor, options: RowOptions) -> Rows:
        """The map R: exact where it is dense, else with rows for the tokens that are likely in ``p``, ``[B, V]``."""
        if self._dense is not None:
            return DenseRows(self._dense)
        if self._fixed_shapes:
            tokens, used, rows = self._fixed_rows(p, options)
        else:
            tokens, used, rows = self._needed_rows(p, options)
        rows[-2], rows[-1] = self.layout.anchor, self.layout.other
        return TopRows(tokens, used, rows, self_mass=self.layout.self_mass, vocabulary=self._vocabulary)

    def _fixed_rows(self, p: Tensor, options: RowOptions) -> tuple[Tensor, Tensor, Tensor]:
        """The ``max_rows`` likeliest tokens of every sequence, sequence by sequence: no shape depends on a value."""
        tokens, needed = likely_tokens(p, options)  # [B, K]
        itself = torch.eye(len(p), dtype=torch.bool, device=p.device).unsqueeze(2)  # [B, B, 1]
        tokens, used = tokens.flatten(), (itself & needed).flatten(1)  # [U], [B, U]
        rows = torch.empty(len(tokens) + 2, len(self.anchors), device=self.device)
        self._write(tokens, rows[:-2])
        return tokens, used, rows

    def _needed_rows(self, p: Tensor, options: RowOptions) -> tuple[Tensor, Tensor, Tensor]:
        """Each token that some sequence needs, once; rows come from the cache where it has them."""
        by_sequence = needed_tokens(p, options)
        wanted, columns = torch.unique(torch.cat(by_sequence), return_inverse=True)
        rows = torch.empty(len(wanted) + 2, len(self.anchors))
        kept, missing = self._cache.load(wanted.tolist(), rows)
        if missing:
            self._write(torch.tensor(missing), rows[len(kept) : -2])
            self._cache.keep(missing, rows[len(kept) : -2])
        used = torch.zeros(len(p), len(wanted), dtype=torch.bool)
        lengths = torch.tensor([len(tokens) for tokens in by_sequence])
        used[torch.arange(len(p)).repeat_interleave(lengths), columns] = True
        tokens = torch.tensor(kept + missing, dtype=torch.long)
        return tokens, used[:, torch.searchsorted(wanted, tokens)], rows

    def _write(self, tokens: Tensor, out: Tensor) -> Tensor:
        """Write the rows of some tokens ``[K]`` into ``out``, ``[K, A]``."""
        temperature = self.layout.temperature
        if self._options.normalize_rows:
            normalize_(self._cosines.write(tokens, out), temperature)
        else:
            self._cosines.write(tokens, out, temperature)
        return softmax_(out)

    def _all_rows(self) -> Tensor:
        tokens, count = torch.arange(self.size, device=self.device), len(self.anchors)
        if self.size * count * self._cosines.width > _EXACT_COSINES:
            return self._write(tokens, torch.empty(self.size, count, device=self.device))
        return torch.softmax(self._published_similarity(tokens) * self.layout.temperature, dim=-1)

    def _published_similarity(self, tokens: Tensor) -> Tensor:
        """Similarity in the published arithmetic: the search amplifies the last bit of a cosine near its epsilon."""
        anchors = self._cosines.vectors(self.anchors).unsqueeze(0)  # [1, A, D]
        step = max(1, _EXACT_BYTES // (4 * anchors.numel()))
        parts = [
            F.cosine_similarity(self._cosines.vectors(part).unsqueeze(1), anchors, dim=-1)
            for part in torch.split(tokens, step)
        ]
        scores = torch.cat(parts)
        return F.normalize(scores, dim=-1) if self._options.normalize_rows else scores
