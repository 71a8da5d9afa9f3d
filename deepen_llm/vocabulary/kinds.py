"""The kinds of tokenizer, each with its rule from a token's string to its surface.

A kind is found from a tokenizer's own parts, most of all its decoder, never from its class's name: the
decoder says how tokens become text, whoever trained or converted them.
"""

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
        name: What it is called in errors.
        surface: From a token, as `convert_ids_to_tokens` gives it, to the bytes it adds in mid-text.
        added: The same for a token that was added to the model's own.
        exact: Whether decoding joins surfaces exactly; False where it puts in spaces that no text had.
        at_once: `surface` of many tokens, where there is a quicker way than one by one.
    """

    name: str
    surface: Rule
    added: Rule = str.encode
    exact: bool = True
    at_once: Callable[[Sequence[str]], list[bytes]] | None = None

    def read(self, tokens: Sequence[str]) -> list[bytes]:
        """The surfaces of many tokens."""
        return self.at_once(tokens) if self.at_once else list(map(self.surface, tokens))


def find_kind(tokenizer: PreTrainedTokenizerBase) -> Kind:
    """Find a tokenizer's kind.

    Args:
        tokenizer: Any `transformers` tokenizer.

    Raises:
        VocabularyError: It is of no known kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = _from_python(tokenizer) if backend is None else _from_decoder(backend)
    if kind is None:
        decoder = "" if backend is None else f" (decoder: {backend.decoder!r:.200})"
        raise VocabularyError(
            f"The tokenizer {type(tokenizer).__name__}{decoder} is of no known kind; known: {KNOWN_KINDS}.",
            hint="Choose a checkpoint with a tokenizer.json of a known kind.",
        )
    return kind


def _from_decoder(backend: Any) -> Kind | None:
    """A kind by the steps of a `tokenizers` decoder; None if there are steps that it does not know."""
    steps = _steps(json.loads(backend.decoder.__getstate__())) if backend.decoder else []
    names = {step["type"] for step in steps}
    if "ByteLevel" in names and names <= _JOINING | {"ByteLevel", "Replace"}:
        return Kind("byte-level BPE", byte_level, at_once=all_byte_level)
    if names == {"WordPiece"}:
        return Kind("WordPiece", wordpiece(steps[0]["prefix"], cleanup=steps[0]["cleanup"]), exact=False)
    replacements = _replacements(steps)
    if names and names <= _JOINING | {"Metaspace", "Replace"} and replacements is not None:
        byte_pieces = "ByteFallback" in names or bool(getattr(backend.model, "byte_fallback", False))
        return _sentencepiece_kind(replacements, byte_pieces=byte_pieces)
    return None


def _from_python(tokenizer: PreTrainedTokenizerBase) -> Kind | None:
    """A kind by the parts of a tokenizer without a `tokenizers` backend."""
    mistral = mistral_model(tokenizer)
    if hasattr(mistral, "id_to_byte_piece"):
        return Kind("tekken", byte_level, at_once=all_byte_level)
    if mistral is not None or hasattr(tokenizer, "sp_model"):
        return _sentencepiece_kind({"▁": " "}, byte_pieces=True)
    if hasattr(tokenizer, "byte_decoder"):
        return Kind("byte-level BPE", byte_level, at_once=all_byte_level)
    return None


def _sentencepiece_kind(replacements: dict[str, str], *, byte_pieces: bool) -> Kind:
    surface = sentencepiece(replacements, byte_pieces=byte_pieces)
    return Kind("SentencePiece", surface, added=surface)


def mistral_model(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The Tekkenizer or SentencePieceTokenizer inside a `MistralCommonBackend`; None for other tokenizers."""
    instruct = getattr(getattr(tokenizer, "tokenizer", None), "instruct_tokenizer", None)
    return getattr(instruct, "tokenizer", None)


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] == "Sequence":
        return [step for part in decoder["decoders"] for step in _steps(part)]
    return [decoder]


def _replacements(steps: list[dict[str, Any]]) -> dict[str, str] | None:
    """What a decoder replaces, by what; None if it does so by a regular expression."""
    found = {step["replacement"]: " " for step in steps if step["type"] == "Metaspace"}
    for step in steps:
        if step["type"] == "Replace":
            if "String" not in step["pattern"]:
                return None
            found[step["pattern"]["String"]] = step["content"]
    return found
