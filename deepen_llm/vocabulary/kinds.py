"""Kinds of tokenizers, each with the rule that maps a token's string to its surface.

A kind is determined from a tokenizer's parts, mainly its decoder, never from the name of its class: the decoder defines
how tokens become text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.rules import Rule, all_byte_level, byte_level, sentencepiece, wordpiece

KNOWN_KINDS = "byte-level BPE (tiktoken's, converted, too), SentencePiece (BPE or Unigram), WordPiece, tekken"
_JOINING = {"ByteFallback", "Fuse", "Strip"}


@dataclass(frozen=True)
class Kind:
    """One kind of tokenizer.

    Attributes:
        name: The name of the kind, for errors.
        surface: Maps a token, as ``convert_ids_to_tokens`` returns it, to the bytes that it adds in mid-text.
        added: The same for a token that was added to the vocabulary of the tokenizer's model.
        exact: Whether decoding concatenates surfaces; False if it inserts spaces.
        batched: A faster form of ``surface`` for many tokens; None if there is none.
    """

    name: str
    surface: Rule
    added: Rule = str.encode
    exact: bool = True
    batched: Callable[[Sequence[str]], list[bytes]] | None = None

    def read(self, tokens: Sequence[str]) -> list[bytes]:
        """Map many tokens to their surfaces."""
        return self.batched(tokens) if self.batched else list(map(self.surface, tokens))


def find_kind(tokenizer: PreTrainedTokenizerBase) -> Kind:
    """Determine the kind of a tokenizer.

    Args:
        tokenizer: Any ``transformers`` tokenizer.

    Raises:
        VocabularyError: The tokenizer is of no known kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = _from_python(tokenizer) if backend is None else _from_decoder(backend)
    if kind is None:
        decoder = "" if backend is None else f" (decoder: {backend.decoder!r:.200})"
        raise VocabularyError(
            f"expected a tokenizer of a known kind ({KNOWN_KINDS}), got {type(tokenizer).__name__}{decoder}",
            hint="choose a checkpoint with a tokenizer.json of a known kind",
        )
    return kind


def _from_decoder(backend: Any) -> Kind | None:
    """Determine the kind by the steps of a ``tokenizers`` decoder; None if a step is unknown."""
    steps = _steps(json.loads(backend.decoder.__getstate__())) if backend.decoder else []
    names = {step["type"] for step in steps}
    if "ByteLevel" in names and names <= _JOINING | {"ByteLevel", "Replace"}:
        return Kind("byte-level BPE", byte_level, batched=all_byte_level)
    if names == {"WordPiece"}:
        return Kind("WordPiece", wordpiece(steps[0]["prefix"], cleanup=steps[0]["cleanup"]), exact=False)
    replacements = _replacements(steps)
    if names and names <= _JOINING | {"Metaspace", "Replace"} and replacements is not None:
        byte_pieces = "ByteFallback" in names or bool(getattr(backend.model, "byte_fallback", False))
        return _sentencepiece_kind(replacements, byte_pieces=byte_pieces)
    return None


def _from_python(tokenizer: PreTrainedTokenizerBase) -> Kind | None:
    """Determine the kind of a tokenizer without a ``tokenizers`` backend by its attributes."""
    mistral = mistral_model(tokenizer)
    if hasattr(mistral, "id_to_byte_piece"):
        return Kind("tekken", byte_level, batched=all_byte_level)
    if mistral is not None or hasattr(tokenizer, "sp_model"):
        return _sentencepiece_kind({"▁": " "}, byte_pieces=True)
    if hasattr(tokenizer, "byte_decoder"):
        return Kind("byte-level BPE", byte_level, batched=all_byte_level)
    return None


def _sentencepiece_kind(replacements: dict[str, str], *, byte_pieces: bool) -> Kind:
    surface = sentencepiece(replacements, byte_pieces=byte_pieces)
    return Kind("SentencePiece", surface, added=surface)


def mistral_model(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The Tekkenizer or SentencePieceTokenizer inside a ``MistralCommonBackend``; None for other tokenizers."""
    instruct = getattr(getattr(tokenizer, "tokenizer", None), "instruct_tokenizer", None)
    return getattr(instruct, "tokenizer", None)


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] == "Sequence":
        return [step for part in decoder["decoders"] for step in _steps(part)]
    return [decoder]


def _replacements(steps: list[dict[str, Any]]) -> dict[str, str] | None:
    """Map each string that a decoder replaces to its replacement; None if a pattern is a regular expression."""
    replacements = {step["replacement"]: " " for step in steps if step["type"] == "Metaspace"}
    for step in steps:
        if step["type"] == "Replace":
            if "String" not in step["pattern"]:
                return None
            replacements[step["pattern"]["String"]] = step["content"]
    return replacements
