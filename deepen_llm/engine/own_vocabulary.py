"""Fusion methods that choose tokens from a vocabulary of their own, in place of the main model's.

Every member whose vocabulary differs from it, the main model too, reads the text of the chosen tokens. Nowhere is the
main model's distribution taken in place of the fused one, since it is over other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepen_llm.errors import ConfigError, PromptError
from deepen_llm.fusion import Fusion
from deepen_llm.fusion.gate import Gate
from deepen_llm.members.base import Member
from deepen_llm.vocabulary import Vocabulary


def check_own_vocabulary(fusion: Fusion, members: Sequence[Member], gate: Gate, draft_tokens: int) -> None:
    """Check that an ensemble can choose tokens from the vocabulary of its fusion method.

    Raises:
        ConfigError: It is the method's own, and there is a gate, tokens are drafted, or tokens that end inside a
            character have no reader.
    """
    if not fusion.has_own_vocabulary:
        return
    setting = f"gate={gate.when!r}" if gate.when != "always" else f"draft_tokens={draft_tokens}" if draft_tokens else ""
    if setting:
        raise ConfigError(
            f"{setting} with a fusion method that has a vocabulary of its own, which the main model has not",
            hint="leave it out, or choose tokens from the main model's vocabulary",
        )
    reads_past = fusion.back or type(fusion)._fuse_after is not Fusion._fuse_after  # noqa: SLF001 - whether it is overridden
    if reads_past or any(readers(fusion.vocabulary, members)):
        return
    cut = next((id_ for id_, surface in enumerate(fusion.vocabulary.surfaces) if not _is_whole(surface or b"")), None)
    if cut is not None:
        surface = fusion.vocabulary.surfaces[cut]
        raise ConfigError(
            f"token {cut} of the fusion method's vocabulary, {surface!r}, begins or ends inside a character, which no "
            "member has read where the next token is chosen",
            hint="leave such tokens out of the vocabulary, or override `_fuse_after`, which is given `past.unfinished`",
        )


def readers(vocabulary: Vocabulary, members: Sequence[Member]) -> list[bool]:
    """Which members read the tokens of a vocabulary as they are; the others read their text."""
    return [member.vocabulary.fingerprint == vocabulary.fingerprint for member in members]


def weights_of_readers(
    weights: Tensor, unfinished: Sequence[bytes], reads_tokens: Sequence[bool], left_out: Tensor
) -> Tensor:
    """Weights that are 0, inside a character, for members that have not read its bytes, ``[P, N]``.

    Args:
        weights: Aggregation weights, ``[P, N]``.
        unfinished: At each position, the bytes of an incomplete character.
        reads_tokens: Which members have read them; where none has, the weights stay.
        left_out: Which members have failed at each position, bool ``[P, N]``.
    """
    if not any(reads_tokens) or not any(unfinished):
        return weights
    reads = (torch.tensor(reads_tokens) & ~left_out).to(weights)  # [P, N]
    kept, readers = weights * reads, reads.sum(-1, keepdim=True)
    total = kept.sum(-1, keepdim=True)
    kept = torch.where(total > 0, kept / total, torch.where(readers > 0, reads / readers, weights))
    inside = torch.tensor([[bool(rest)] for rest in unfinished], device=weights.device)  # [P, 1]
    return torch.where(inside, kept, weights)


def tokens_of(vocabulary: Vocabulary, text: bytes, *, skip_unknown: bool = False) -> list[int]:
    """The tokens that spell a text, the longest that fits at each place.

    Args:
        vocabulary: The vocabulary.
        text: The text.
        skip_unknown: Leave out bytes that no token begins with.

    Raises:
        PromptError: No token begins with a byte, and none may be left out.
    """
    ids = list[int]()
    while text:
        token = vocabulary.longest(text)
        if token >= 0:
            ids.append(token)
        elif not skip_unknown:
            raise PromptError(
                f"the fusion method's vocabulary has no token with which {text[:20]!r} begins",
                hint="give another text, or add a token for each byte to the vocabulary",
            )
        text = text[len(vocabulary.surfaces[token] or b"") if token >= 0 else 1 :]
    return ids


def _is_whole(surface: bytes) -> bool:
    """Whether bytes are whole characters."""
    try:
        surface.decode()
    except UnicodeDecodeError:
        return False
    return True
