"""Models that say a given text and really decode it: real forwards, real caches, a strong preference on top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from typing_extensions import override

from deepen_llm.members.transformers_api import cache_of
from deepen_llm.vocabulary import Vocabulary

Answers = Callable[[str], str]
"""From a prompt, special tokens spelled out, to its answer."""


class Script(ABC):
    """What a scripted model prefers."""

    @abstractmethod
    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        """Add to the model's own logits, in place, what the script prefers.

        Args:
            logits: At the last L places that are kept, ``[B, L, V]``.
            ids: The token ids of this forward, ``[B, block]``.
            mask: Its attention mask, ``[B, slots]``, or ``[B, 1, 1, slots]`` where it is what is added to attention;
                None where every slot is seen.
            positions: Where the logits stand in their text, ``[B, L]``.
            cache: The key-value cache behind the forward; None where there is none.
        """


class ScriptedLlama(LlamaForCausalLM):  # type: ignore[misc]
    """A Llama whose computed logits are pulled towards a script.

    Attributes:
        script: The script; None for the model's own logits.
    """

    script: Script | None = None

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **given: Any,
    ) -> Any:
        """The model's own forward, and what the script adds."""
        out = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **given,
        )
        if self.script is not None and input_ids is not None:
            cache = cache_of(out)
            positions = _positions(input_ids, position_ids, cache)
            kept = positions[:, -logits_to_keep:] if isinstance(logits_to_keep, int) else positions[:, logits_to_keep]
            self.script.add(out.logits, input_ids, attention_mask, kept, cache)
        return out


class TokenScript(Script):
    """At position ``p``, whatever was read, token ``p + 1`` of a text; behind it, its last token.

    Args:
        tokens: The tokens of the text, the end of text behind them.
        strength: Of the preference, in nats.
    """

    def __init__(self, tokens: Sequence[int], strength: float) -> None:
        self.tokens, self.strength = tuple(tokens), strength

    @override
    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        script = torch.tensor(self.tokens, device=logits.device)
        wanted = script[(positions + 1).clamp(max=len(script) - 1)]
        logits.scatter_add_(2, wanted.unsqueeze(-1), torch.full_like(logits[..., :1], self.strength))


class AnswerScript(Script):
    """The answer to whatever prompt was read, token by token; behind it, or where it was left, the end of text.

    The model's cache keeps token ids in one more layer, so that what was read is known however rows are cut and moved.

    Args:
        vocabulary: The model's vocabulary.
        answers: From the prompt, up to and including its mark, to the answer.
        marks: What answers follow in a text; the one that ends last counts.
        strength: Of the preference, in nats.
        layer: The cache's layer for token ids: the number of the model's own.
    """

    def __init__(
        self, vocabulary: Vocabulary, answers: Answers, marks: Sequence[str], strength: float, layer: int
    ) -> None:
        self._vocabulary, self._answers, self._strength, self._layer = vocabulary, answers, strength, layer
        self._marks = [mark.encode() for mark in marks]

    @override
    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        seen = ids[:, None, :, None].float()  # [B, 1, slots, 1], as keys are
        if cache is not None:
            seen, _ = cache.update(seen, seen, self._layer)
        alive = torch.ones_like(seen[:, 0, :, 0]) if mask is None else mask
        for row, tokens in enumerate(seen[:, 0, :, 0].long()):
            read = tokens[alive[row].bool()].tolist()
            for column, position in enumerate(positions[row].tolist()):
                logits[row, column, self._next(read[: position + 1])] += self._strength

    def _next(self, ids: Sequence[int]) -> int:
        known = self._vocabulary
        text = b"".join(known.surfaces[id_] or known.spellings.get(id_, "").encode() for id_ in ids)
        end = max((text.rfind(mark) + len(mark) for mark in self._marks if mark in text), default=None)
        if end is None:
            return known.end_of_text[0]
        said, answer = text[end:], self._answers(text[:end].decode(errors="replace")).encode()
        token = known.longest(answer[len(said) :]) if answer.startswith(said) else -1
        return token if token >= 0 else known.end_of_text[0]


def scripted(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, strength: float = 20.0, limit: int = 4096
) -> tuple[ScriptedLlama, PreTrainedTokenizerBase]:
    """A model, with its tokenizer, that continues one prompt with one answer, then the end of text.

    Args:
        tokenizer: Its tokenizer, which has an end-of-text token.
        prompt: The prompt.
        answer: The answer.
        strength: Of its preference, in nats, over random logits.
        limit: Its context length, in tokens.
    """
    tokens = [*tokenizer.encode(prompt + answer), tokenizer.eos_token_id]
    return scripted_model(ScriptedLlama, tokenizer, TokenScript(tokens, strength), limit), tokenizer


def answering(
    tokenizer: PreTrainedTokenizerBase,
    answers: Answers,
    marks: Sequence[str],
    *,
    strength: float = 20.0,
    limit: int = 4096,
    kind: type[ScriptedLlama] = ScriptedLlama,
) -> tuple[ScriptedLlama, PreTrainedTokenizerBase]:
    """A model, with its tokenizer, that answers every prompt as told.

    Args:
        tokenizer: Its tokenizer, which has an end-of-text token.
        answers: From a prompt, up to and including its mark, to the answer.
        marks: What answers follow, such as what the chat template begins one with.
        strength: Of its preference, in nats, over random logits.
        limit: Its context length, in tokens.
        kind: The class of the model.
    """
    vocabulary = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[tokenizer.eos_token_id])
    script = AnswerScript(vocabulary, answers, marks, strength, layer=1)
    return scripted_model(kind, tokenizer, script, limit), tokenizer


def scripted_model(
    kind: type[ScriptedLlama], tokenizer: PreTrainedTokenizerBase, script: Script, limit: int = 4096
) -> ScriptedLlama:
    """A small random model of one layer that follows a script.

    Args:
        kind: Its class.
        tokenizer: The tokenizer whose tokens it has.
        script: The script.
        limit: Its context length, in tokens.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=limit,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model: ScriptedLlama = kind(config).eval()
    model.script = script
    return model


def _positions(ids: Tensor, given: Tensor | None, cache: Any) -> Tensor:
    """The positions of a forward's ids, ``[B, block]``."""
    if given is not None:
        return given.expand(ids.shape)
    end = ids.shape[1] if cache is None else cache.get_seq_length()
    return torch.arange(end - ids.shape[1], end, device=ids.device).expand(ids.shape)
