"""Members that are no more than a vocabulary and an embedding, which is all that fusion asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.fusion.base import Fusible
from deepen_llm.vocabulary import Vocabulary


@dataclass
class FusibleMember:
    """What a fusion method knows of a member, without a model.

    Attributes:
        name: What messages call it.
        vocabulary: Its vocabulary.
        embedding: Its token embeddings, ``[V_i, D_i]``.
        missing_embedding: Why there are none; empty, since there are.
    """

    name: str
    vocabulary: Vocabulary
    embedding: Tensor
    missing_embedding: str = ""


@dataclass
class SpellingMember(FusibleMember):
    """A `FusibleMember` that begins each text with the longest token there is, as `Surface` needs it."""

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The longest token that each text begins with; -1 where there is none."""
        return [self.vocabulary.longest(text) for text in texts]


def vocabulary_of(surfaces: Sequence[bytes | None], end_of_text: Sequence[int] = (), padding: int = 0) -> Vocabulary:
    """A vocabulary with these surfaces, each of them once.

    Args:
        surfaces: What each token spells; None for special tokens.
        end_of_text: The ids that end a text.
        padding: How many ids beyond the tokenizer the logits have.
    """
    return Vocabulary(
        surfaces=(*surfaces, *[None] * padding),
        end_of_text=tuple(end_of_text),
        special=frozenset(end_of_text),
        spellings={},
        tokenizer_size=len(surfaces),
        ids={surface: token for token, surface in enumerate(surfaces) if surface is not None},
        duplicates={},
        fingerprint=repr(list(surfaces)),
    )


def random_member(seed: int, size: int, shared: int, dim: int, end_of_text: int = 0) -> SpellingMember:
    """A member of ``size`` tokens, ``shared`` of which other seeds have too, in another order; then its ends of text.

    Shared tokens' embeddings agree up to a rotation and noise, as those of trained models do.

    Args:
        seed: Of its own tokens, the rotation and the noise.
        size: Tokens that spell something.
        shared: How many of them every seed has.
        dim: Dimensions of the embeddings.
        end_of_text: How many ids end a text.
    """
    made = torch.Generator().manual_seed(seed)
    common = torch.randn(shared, dim, generator=torch.Generator().manual_seed(99))
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=made)).Q
    own = torch.randn(size - shared, dim, generator=made)
    rows = torch.cat([common + 0.1 * torch.randn(shared, dim, generator=made), own]) @ rotation
    names = [b"s%d" % i for i in range(shared)] + [b"%d:%d" % (seed, i) for i in range(size - shared)]
    order = torch.randperm(size, generator=made).tolist()
    surfaces = [*(names[i] for i in order), *[None] * end_of_text]
    embedding = torch.cat([rows[order], torch.randn(end_of_text, dim, generator=made)])
    return SpellingMember(f"member {seed}", vocabulary_of(surfaces, range(size, size + end_of_text)), embedding)


def random_logits(member: Fusible, rows: int, seed: int, scale: float = 3.0) -> Tensor:
    """Logits of a member, ``[rows, V_i]``.

    Args:
        member: The member.
        rows: How many distributions.
        seed: Of the numbers.
        scale: Their standard deviation: the larger, the surer.
    """
    made = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, member.vocabulary.size, generator=made)
