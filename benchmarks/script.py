"""Scripts: random models that agree on a text as trained ones do, with computed forwards.

A `ScriptedLlama` computes all of its logits, and `Tables` add to them. At position ``p`` of a text they prefer the
text's next token with a probability around .85, know its topic (the 19 tokens after that share .1 by a power law) and
its language (the rest goes by how frequent tokens are). Each member follows the same text in its own tokenization.

At some positions where two members have the same next token at the same position of the text, the main model slightly
prefers another token and the other member gives the text's a high probability: fusion corrects the main model there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deepen_llm.members.transformers_api import cache_of
from deepen_llm.testing.scripted import Script, ScriptedLlama

_AHEAD = 20  # tokens of the text that have probabilities of their own
_TOPIC, _TAIL = 0.145, 0.005  # mass of the tokens after the next one, and of all others
_SURE = 0.95  # the other member's probability where the main model prefers another token
# There, the main model's weights of the text's token and of the other one; as probabilities .39 and .48.
_TORN, _RIVAL = 0.45, 0.55


@dataclass(frozen=True)
class Tables:
    """Texts to follow, as one member encodes them.

    Attributes:
        ids: Token ids, ``[S, P]``, with the end-of-text token after each text.
        ahead: At every position, the tokens with probabilities of their own, ``[S, P, 20]``.
        bonus: The values added to their logits, ``[S, P, 20]``.
        tail: The values added to the logits of all tokens, ``[V]``: log-frequencies.
    """

    ids: Tensor
    ahead: Tensor
    bonus: Tensor
    tail: Tensor

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], chances: Sequence[np.ndarray], counts: np.ndarray) -> Tables:
        """Make the tables.

        Args:
            texts: The token ids of each text.
            chances: The probability of the next token at each position of each text; negative where the token after it
                is slightly preferred.
            counts: The frequency of each token, ``[V]``.
        """
        length = max(map(len, texts))
        padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in texts])
        frequency = (counts + 0.01) / (counts + 0.01).sum()
        tail = torch.from_numpy(np.log(frequency * _TAIL)).float()
        mass = torch.zeros(_AHEAD)
        mass[0], mass[1:] = 1.0, torch.arange(1, _AHEAD).float() ** -1.0
        topic = mass * _TOPIC / mass[1:].sum()
        positions = (torch.arange(length)[:, None] + 1 + torch.arange(_AHEAD)).clamp(max=length - 1)  # [P, 20]
        ahead = padded[:, positions]  # [S, P, 20]
        wanted = topic.repeat(len(texts), length, 1)
        for text, chance in enumerate(chances):
            known, of_text = torch.from_numpy(chance).float(), wanted[text, : len(chance)]
            of_text[:, 0] = torch.where(known < 0, _TORN, (_TOPIC + _TAIL) * known / (1 - known))
            of_text[:, 1] = torch.where(known < 0, _RIVAL, of_text[:, 1])
        repeated = (ahead.unsqueeze(3) == ahead.unsqueeze(2)).tril(-1).any(3)  # [S, P, 20]: equal to one before it
        bonus = torch.where(repeated, 0.0, wanted.log() - tail[ahead])
        return cls(padded, ahead, bonus, tail)

    def to(self, device: torch.device) -> Tables:
        """The same on another device."""
        return Tables(*(getattr(self, name).to(device) for name in ("ids", "ahead", "bonus", "tail")))

    def add(self, logits: Tensor, texts: Tensor, positions: Tensor) -> None:
        """Add the scripts' values to logits, in place.

        Args:
            logits: Logits, ``[B, L, V]``.
            texts: The index of the text that each sequence follows, ``[B, 1]``.
            positions: The positions of the logits in the text, ``[B, L]``.
        """
        texts, positions = texts.to(logits.device), positions.to(logits.device).clamp(max=self.ids.shape[1] - 1)
        logits += self.tail.to(logits.dtype)
        logits.scatter_add_(2, self.ahead[texts, positions], self.bonus[texts, positions].to(logits.dtype))


class _Followed(Script):
    """Tables of several texts; each sequence of a batch follows the text that begins with its first token.

    The text is found by the sequence's first key in the cache, which is never rolled back and is moved with it.

    Args:
        tables: The tables.
        firsts: Each text's first key, ``[S, H * d]``.
    """

    def __init__(self, tables: Tables, firsts: Tensor) -> None:
        self._tables, self._firsts = tables, firsts

    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        """See `Script`."""
        self._tables.add(logits, self._texts(ids, mask, cache), positions)

    def _texts(self, ids: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        """The index of the text that each sequence follows, ``[B, 1]``."""
        if len(self._firsts) == 1:
            return torch.zeros(len(ids), 1, dtype=torch.long, device=ids.device)
        if cache is None:
            return (ids[:, :1] == self._tables.ids[:, 0]).int().argmax(1, keepdim=True)
        return torch.cdist(_keys(cache, mask).float(), self._firsts.float()).argmin(1, keepdim=True)


@torch.inference_mode()
def follow(model: ScriptedLlama, tables: Tables) -> None:
    """Set the texts that a model follows; their first tokens must differ."""
    model.script = None
    firsts = _keys(cache_of(model(tables.ids[:, :1].to(model.device))), None)
    model.script = _Followed(tables.to(model.device), firsts)


def _keys(cache: Any, mask: Tensor | None) -> Tensor:
    """The key in the first used slot of each sequence, ``[B, H * d]``."""
    keys: Tensor = cache.layers[0].keys  # [B, H, slots, d]
    if mask is None:
        return keys[:, :, 0].flatten(1)
    live = mask if mask.dim() == 2 else mask[:, 0, -1] >= 0  # a mask of four dimensions is added to attention scores
    first = live.int().argmax(1)
    return keys[torch.arange(len(keys), device=keys.device), :, first.to(keys.device)].flatten(1)


def scripts(
    tokenizers: Sequence[PreTrainedTokenizerBase], texts: Sequence[str], *, disagreement: float, seed: int = 0
) -> list[Tables]:
    """Each member's script of the same texts.

    Args:
        tokenizers: The members' tokenizers, the main model's first.
        texts: The texts; each begins with another token in every member.
        disagreement: The share of positions at which the main model prefers another token than the text's.
        seed: The seed of these positions and of the probabilities elsewhere.
    """
    rng = np.random.default_rng(seed)
    encoded = [[tokenizer(text, return_offsets_mapping=True) for text in texts] for tokenizer in tokenizers]
    chances = [[_confidence(len(one.input_ids), rng) for one in member] for member in encoded]
    for row in range(len(texts)):
        _disagree([member[row].offset_mapping for member in encoded], [one[row] for one in chances], disagreement, rng)
    made = []
    for tokenizer, member, own in zip(tokenizers, encoded, chances, strict=True):
        ids = [list(one.input_ids) for one in member]
        counts = np.bincount(np.concatenate(ids), minlength=len(tokenizer)).astype(float)
        counts += np.arange(1, len(tokenizer) + 1) ** -1.0  # byte pairs are numbered by how frequent they are
        made.append(Tables.of(ids, own, counts))
    return made


def _confidence(count: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of the next token: often near one, .85 on average."""
    return np.asarray(rng.beta(4, 0.7, count).clip(0.55, 0.99))


def _disagree(
    spans: Sequence[Sequence[tuple[int, int]]], chances: Sequence[np.ndarray], share: float, rng: np.random.Generator
) -> None:
    """Choose positions at which the main model prefers another token, and the others are confident of the text's."""
    if len(spans) < 2 or not share:
        return
    indices = [{span: index for index, span in enumerate(one)} for one in spans]
    due = 0.0
    for index in range(1, len(spans[0])):
        due += share
        if due < rng.uniform(0.5, 1.5) or spans[0][index] not in indices[1]:  # evenly, but not in step
            continue
        due -= 1
        chances[0][index - 1] = -1.0
        for own, known in zip(chances[1:], indices[1:], strict=True):
            if (there := known.get(spans[0][index])) is not None and there > 0:
                own[there - 1] = _SURE
