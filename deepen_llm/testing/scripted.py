"""Models that generate a given text: real forwards and caches, with a script's preference added to the logits."""

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
"""A function from a prompt, special tokens spelled out, to its answer."""


class Script(ABC):
    """The tokens that a scripted model prefers."""

    @abstractmethod
    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        """Add to the logits of preferred tokens, in place.

        Args:
            logits: The model's logits after L ids of the forward, ``[B, L, V]``.
            ids: The token ids of this forward, ``[B, block]``.
            mask: Its attention mask, ``[B, slots]``; or ``[B, 1, L, slots]``, where token p of a text is in slot p;
                None where all slots are attended to.
            positions: The positions of these L ids in their text, ``[B, L]``.
            cache: The key-value cache after the forward; None without a cache.
        """


class ScriptedLlama(LlamaForCausalLM):  # type: ignore[misc]
    """A Llama with a script's preference added to its logits.

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
        **arguments: Any,
    ) -> Any:
        """The model's own forward, with the script's preference added."""
        out = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **arguments,
        )
        if self.script is not None and input_ids is not None:
            cache = cache_of(out)
            positions = _positions(input_ids, position_ids, cache)
            kept = positions[:, -logits_to_keep:] if isinstance(logits_to_keep, int) else positions[:, logits_to_keep]
            self.script.add(out.logits, input_ids, attention_mask, kept, cache)
        return out


class TokenScript(Script):
    """Prefers token ``p + 1`` of a text at position ``p``, whatever was read, and its last token after its end.

    Args:
        tokens: The tokens of the text, with the end of text as the last.
        strength: Nats that are added to a preferred token's logit.
    """

    def __init__(self, tokens: Sequence[int], strength: float) -> None:
        self.tokens, self.strength = tuple(tokens), strength

    @override
    def add(self, logits: Tensor, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> None:
        script = torch.tensor(self.tokens, device=logits.device)
        wanted = script[(positions + 1).clamp(max=len(script) - 1)]
        logits.scatter_add_(2, wanted.unsqueeze(-1), torch.full_like(logits[..., :1], self.strength))


class AnswerScript(Script):
    """Prefers the answer to the prompt that was read; the end of text after it, or after text that differs from it.

    The cache keeps the token ids in one more layer, so that they are rolled back, copied and joined with the rest.

    Args:
        vocabulary: The model's vocabulary.
        answers: Returns the answer to a prompt, which ends with a mark.
        marks: Texts after which an answer begins; the one that ends last counts.
        strength: Nats that are added to a preferred token's logit.
        layer: Index of the cache's layer for token ids: the number of the model's own layers.
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
        pads = mask is not None and mask.dim() == 2  # else token p is in slot p
        for sequence, tokens in enumerate(seen[:, 0, :, 0].long()):
            read = (tokens[mask[sequence].bool()] if pads and mask is not None else tokens).tolist()
            for column, position in enumerate(positions[sequence].tolist()):
                logits[sequence, column, self._next(read[: position + 1])] += self._strength

    def _next(self, ids: Sequence[int]) -> int:
        vocabulary = self._vocabulary
        text = b"".join(vocabulary.surfaces[id_] or vocabulary.spellings.get(id_, "").encode() for id_ in ids)
        end = max((text.rfind(mark) + len(mark) for mark in self._marks if mark in text), default=None)
        if end is None:
            return vocabulary.end_of_text[0]
        begun, answer = text[end:], self._answers(text[:end].decode(errors="replace")).encode()
        token = vocabulary.longest(answer[len(begun) :]) if answer.startswith(begun) else -1
        return token if token >= 0 else vocabulary.end_of_text[0]


def scripted(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, strength: float = 20.0, limit: int = 4096
) -> tuple[ScriptedLlama, PreTrainedTokenizerBase]:
    """A model, with its tokenizer, that continues one prompt with one answer, then the end of text.

    Args:
        tokenizer: Its tokenizer, which has an end-of-text token.
        prompt: The prompt.
        answer: The answer.
        strength: Nats that are added to a preferred token's random logit.
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
    """A model, with its tokenizer, that gives every prompt the answer of a function.

    Args:
        tokenizer: Its tokenizer, which has an end-of-text token.
        answers: Returns the answer to a prompt, which ends with a mark.
        marks: Texts after which an answer begins, such as the chat template's generation prompt.
        strength: Nats that are added to a preferred token's random logit.
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


def _positions(ids: Tensor, position_ids: Tensor | None, cache: Any) -> Tensor:
    """The positions of a forward's ids, ``[B, block]``; counted by the cache where ``position_ids`` is None."""
    if position_ids is not None:
        return position_ids.expand(ids.shape)
    end = ids.shape[1] if cache is None else cache.get_seq_length()
    return torch.arange(end - ids.shape[1], end, device=ids.device).expand(ids.shape)
