"""Members that are no more than a vocabulary and an embedding, which is all that fusion asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepen_llm.vocabulary import Vocabulary


@dataclass
class Plain:
    name: str
    vocabulary: Vocabulary
    embedding: Tensor


def vocabulary(surfaces: Sequence[bytes | None], end_of_text: Sequence[int] = (), padding: int = 0) -> Vocabulary:
    """A vocabulary with these surfaces, each of them once."""
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


def random_member(seed: int, size: int, shared: int, dim: int, end_of_text: int = 0) -> Plain:
    """A member of ``size`` tokens, ``shared`` of which other seeds have too, in another order; then its ends of text.

    Shared tokens' embeddings agree up to a rotation and noise, as those of trained models do.
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
    return Plain(f"member {seed}", vocabulary(surfaces, range(size, size + end_of_text)), embedding)


def random_logits(member: Plain, rows: int, seed: int, scale: float = 3.0) -> Tensor:
    """Logits ``[rows, V]``."""
    made = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, member.vocabulary.size, generator=made)


@dataclass
class Spelled(Plain):
    """One that begins each text with the longest token there is."""

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        return [self.vocabulary.longest(text) for text in texts]
