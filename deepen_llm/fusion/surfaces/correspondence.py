"""Edges between tokens of two vocabularies that may begin the same text, computed once per pair and kept on disk.

With ``s(t)`` a token's bytes and ``first_x(b)`` the token with which tokenizer x begins the bytes b in the middle of a
text, another member's token u and a main token v are related where

    v = f(u) = first_main(s(u))        or        u = g(v) = first_member(s(v))

Where the main model chooses v, its own encoding of the following text begins with v. A token u at least as long as v
determines v. A shorter u is the member's first token of v's text only if ``g(v) = u``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepen_llm.fusion.base import Spelling
from deepen_llm.storage import fingerprints, store
from deepen_llm.vocabulary import Vocabulary

_NONE = -1
_FIRSTS_KEPT = 1 << 18  # texts whose first token is kept in memory
_RANGES_KEPT = 1 << 14  # texts whose longer tokens and covers are kept in memory


@dataclass(frozen=True)
class Edges:
    """The main tokens ``G(u)`` that each token u of a member may begin.

    Attributes:
        single: The only such main token of each token of the member, ``[V_i]``; V_main where there are none or several.
        tokens: The tokens with several main tokens, ``[U]``.
        several: For each of their edges, the index of u in ``tokens``, and v, ``[2, E]``.
        spelled: Whether the edge is ``v = f(u)``, ``[E]``.
    """

    single: Tensor
    tokens: Tensor
    several: Tensor
    spelled: Tensor

    def to(self, device: torch.device) -> Edges:
        """The same on a device."""
        return Edges(
            single=self.single.to(device),
            tokens=self.tokens.to(device),
            several=self.several.to(device),
            spelled=self.spelled.to(device),
        )

    @classmethod
    def between(cls, member: Spelling, main: Spelling) -> Edges:
        """The edges of a member and the main model."""
        key = fingerprints.fingerprint(
            ["surfaces", _key(member), _key(main), member.vocabulary.size, main.vocabulary.size]
        )
        sizes = member.vocabulary.size, main.vocabulary.size
        stored = store.kept("surfaces", key, lambda: _tensors(_pairs(member, main), sizes))
        return cls(stored["single"], stored["tokens"], stored["several"], stored["spelled"].bool())


class Covers(NamedTuple):
    """The tokens that may cover the end of a text.

    Attributes:
        inside: Tokens with which these bytes begin.
        missing: How many of the bytes follow each of these.
        beyond: Longer tokens that begin with these bytes.
    """

    inside: NDArray[np.int64]
    missing: NDArray[np.int64]
    beyond: NDArray[np.int32]


class Tokens:
    """A member's tokens sorted by surface, and the first tokens of texts.

    Args:
        member: The member.

    Attributes:
        surfaces: The bytes of each token.
        order: The ids of tokens with a surface, in the order of surfaces.
        beyond: The range in ``order`` of the longer tokens that begin with a text; a cached function.
        covers: The `Covers` of a text; a cached function.
    """

    def __init__(self, member: Spelling) -> None:
        self.surfaces, self._ids = member.vocabulary.surfaces, member.vocabulary.ids
        known = sorted((surface, id_) for id_, surface in enumerate(self.surfaces) if surface)
        self._sorted = [surface for surface, _ in known]
        self.order = np.array([id_ for _, id_ in known], dtype=np.int32)
        self._first_tokens: Callable[[Sequence[bytes]], list[int]] = member.first_tokens
        self._firsts: dict[bytes, int] = {}
        self.beyond = lru_cache(_RANGES_KEPT)(self._beyond)
        self.covers = lru_cache(_RANGES_KEPT)(self._covers)

    def beginning(self, text: bytes) -> slice:
        """The range in ``order`` of the tokens that begin with a text."""
        return slice(bisect_left(self._sorted, text), self.beyond(text).stop)

    def ranks(self, chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The indices in ``order`` of the chosen tokens, from ``[V]`` booleans, in rising order."""
        ranks = self._rank[np.flatnonzero(chosen)]
        return np.sort(ranks[ranks != _NONE])

    @cached_property
    def _rank(self) -> NDArray[np.int32]:
        rank = np.full(len(self.surfaces), _NONE, dtype=np.int32)
        rank[self.order] = np.arange(len(self.order), dtype=np.int32)
        return rank

    def _beyond(self, text: bytes) -> slice:
        first = bisect_left(self._sorted, text + b"\x00") if text else 0
        return slice(first, bisect_left(self._sorted, text + b"\xff" * 8) if text else len(self._sorted))

    def _covers(self, text: bytes) -> Covers:
        known = [(id_, size) for size in range(1, len(text) + 1) if (id_ := self._ids.get(text[:size])) is not None]
        inside, sizes = np.array(known, dtype=np.int64).reshape(-1, 2).T
        return Covers(inside, len(text) - sizes, self.order[self.beyond(text)])

    def firsts(self, texts: Sequence[bytes]) -> list[int]:
        """The first token of each text, -1 where it has none; results are cached."""
        known = self._firsts  # another thread may replace it
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if len(known) + len(new) > _FIRSTS_KEPT:
            known = self._firsts = {}
            new = list(dict.fromkeys(texts))
        known.update(zip(new, self._first_tokens(new), strict=True) if new else ())
        return [known[text] for text in texts]


def _key(member: Spelling) -> str:
    """A key of what first tokens depend on: the member's tokens, and its first tokens of a sample of texts."""
    surfaces = [surface for surface in member.vocabulary.surfaces if surface]
    sample = surfaces[:: max(1, len(surfaces) // 512)]
    joined = [first + second for first, second in pairwise(sample)]
    firsts = member.first_tokens(joined)
    return fingerprints.fingerprint([member.vocabulary.fingerprint, member.vocabulary.end_of_text, firsts])


def _pairs(member: Spelling, main: Spelling) -> tuple[np.ndarray, np.ndarray]:
    """All edges (u, v), those with ``v = f(u)`` first: sorted pairs ``[E, 2]``, and which of them are such, ``[E]``."""
    forward = np.stack(_map(member.vocabulary, main), 1)  # (u, f(u))
    back = np.stack(_map(main.vocabulary, member), 1)[:, ::-1]  # (g(v), v)
    ends = [one.vocabulary.end_of_text[:1] for one in (member, main)]
    if all(ends):
        forward = np.concatenate([forward, [[ends[0][0], ends[1][0]]]])
    pairs, places = np.unique(np.concatenate([forward, back]), axis=0, return_index=True)
    return pairs, places < len(forward)


def _map(vocabulary: Vocabulary, other: Spelling) -> tuple[np.ndarray, np.ndarray]:
    """Tokens with a surface, and the other member's first token of it, where it has one."""
    ids = [id_ for id_, surface in enumerate(vocabulary.surfaces) if surface]
    firsts = np.array(other.first_tokens([vocabulary.surfaces[id_] or b"" for id_ in ids]), dtype=np.int64)
    return np.array(ids, dtype=np.int64)[firsts != _NONE], firsts[firsts != _NONE]


def _tensors(found: tuple[np.ndarray, np.ndarray], sizes: tuple[int, int]) -> dict[str, Tensor]:
    """The fields of `Edges`, between so many tokens of the member and of the main model."""
    pairs, spelled = found
    alone = np.bincount(pairs[:, 0], minlength=sizes[0])[pairs[:, 0]] == 1
    single = torch.full((sizes[0],), sizes[1])
    single[torch.from_numpy(pairs[alone, 0])] = torch.from_numpy(pairs[alone, 1])
    tokens, places = np.unique(pairs[~alone, 0], return_inverse=True)
    return {
        "single": single,
        "tokens": torch.from_numpy(tokens),
        "several": torch.from_numpy(np.stack([places.reshape(-1), pairs[~alone, 1]])),
        "spelled": torch.from_numpy(spelled[~alone]).to(torch.uint8),
    }
