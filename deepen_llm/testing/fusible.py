"""Members without a model: a vocabulary and an embedding, which is what fusion methods read of a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.fusion.base import Fusible
from deepen_llm.vocabulary import Vocabulary


@dataclass
class FusibleMember:
    """A member as fusion methods read it, without a model.

    Attributes:
        name: Its name, for errors.
        vocabulary: Its vocabulary.
        embedding: Its token embeddings, ``[V_i, D_i]``.
        missing_embedding: Empty, since it has embeddings; see `ModelSide`.
    """

    name: str
    vocabulary: Vocabulary
    embedding: Tensor
    missing_embedding: str = ""


@dataclass
class SpellingMember(FusibleMember):
    """A `FusibleMember` whose tokenizer begins each text with the longest token possible; `Surface` needs this."""

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The longest token that each text begins with; -1 where there is none."""
        return [self.vocabulary.longest(text) for text in texts]


def vocabulary_of(surfaces: Sequence[bytes | None], end_of_text: Sequence[int] = (), padding: int = 0) -> Vocabulary:
    """A vocabulary with these surfaces, each of them once.

    Args:
        surfaces: Each token's surface; None for special tokens.
        end_of_text: The ids that end a text.
        padding: Number of logits beyond the tokenizer's tokens.
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
    """A member with random embeddings, some of whose tokens members with other seeds have too, in another order.

    Shared tokens' embeddings agree up to a rotation and noise, as those of trained models do.

    Args:
        seed: Seed of the tokens that are not shared, of the rotation and of the noise.
        size: Number of tokens with a surface.
        shared: Number of these tokens that members of all seeds have.
        dim: Dimensions of the embeddings.
        end_of_text: Number of ids, after all others, that end a text.
    """
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(shared, dim, generator=torch.Generator().manual_seed(99))
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    unshared = torch.randn(size - shared, dim, generator=generator)
    noisy = common + 0.1 * torch.randn(shared, dim, generator=generator)
    table = torch.cat([noisy, unshared]) @ rotation
    names = [b"s%d" % i for i in range(shared)] + [b"%d:%d" % (seed, i) for i in range(size - shared)]
    order = torch.randperm(size, generator=generator).tolist()
    surfaces = [*(names[i] for i in order), *[None] * end_of_text]
    embedding = torch.cat([table[order], torch.randn(end_of_text, dim, generator=generator)])
    return SpellingMember(f"member {seed}", vocabulary_of(surfaces, range(size, size + end_of_text)), embedding)


def random_logits(member: Fusible, positions: int, seed: int, scale: float = 3.0) -> Tensor:
    """Random logits of a member, ``[positions, V_i]``.

    Args:
        member: The member.
        positions: Number of distributions.
        seed: Seed of the logits.
        scale: Their standard deviation; large values give distributions with most mass on few tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(positions, member.vocabulary.size, generator=generator)
