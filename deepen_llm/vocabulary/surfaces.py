"""Reading the surfaces of all tokens of a tokenizer, checked against the text that the tokenizer decodes."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from itertools import compress
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.kinds import Kind, find_kind, mistral_model
from deepen_llm.vocabulary.rules import BYTE_PIECE

_PLAIN = re.compile(b" ?[A-Za-z]{2,}")
SAMPLE = 256  # tokens that are decoded for the check
Surfaces = list[bytes | None]


def read_surfaces(tokenizer: PreTrainedTokenizerBase) -> tuple[Surfaces, frozenset[int]]:
    """Read the surfaces of a tokenizer's tokens and which of them are special.

    Args:
        tokenizer: Any ``transformers`` tokenizer.

    Returns:
        The surface of each id up to the tokenizer's highest, None for special tokens and unused ids; and the ids of
        the special tokens.

    Raises:
        VocabularyError: The tokenizer is of no known kind, or decodes a token to a text that is not its surface.
    """
    kind = find_kind(tokenizer)
    mistral = mistral_model(tokenizer)
    if kind.name == "tekken":
        special = frozenset[int](tokenizer.all_special_ids)
        surfaces: Surfaces = list(map(mistral.id_to_byte_piece, range(len(tokenizer))))
        added: dict[int, Any] = {}
    else:
        added = {} if mistral is not None else tokenizer.added_tokens_decoder
        others = added.keys() - _ids_of_model(tokenizer, added)
        tokens = _tokens(tokenizer, mistral, added, others)
        special = _special_ids(tokenizer, tokens, added)
        surfaces = _surfaces(kind, tokens)
        for id_ in others:
            surfaces[id_] = kind.added(added[id_].content)
    for id_ in special:
        if id_ < len(surfaces):
            surfaces[id_] = None
    _check(tokenizer, kind, surfaces, skipped=added.keys())
    return surfaces, special


def _surfaces(kind: Kind, tokens: Sequence[str | None]) -> Surfaces:
    missing = [id_ for id_, token in enumerate(tokens) if token is None]
    surfaces: Surfaces = [*kind.read([token or "" for token in tokens] if missing else cast("Sequence[str]", tokens))]
    for id_ in missing:
        surfaces[id_] = None
    return surfaces


def _tokens(
    tokenizer: PreTrainedTokenizerBase, mistral: Any, added: dict[int, Any], others: Set[int]
) -> Sequence[str | None]:
    """The token of every id up to the highest; None for an unused id."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # faster than get_vocab(), which builds a dictionary
        size = backend.get_vocab_size(with_added_tokens=False)
        listed: list[str | None] = list(map(backend.id_to_token, range(max(size, 1 + max(added, default=-1)))))
        if len(listed) - listed.count(None) - len(others) == size:  # no other id of the tokenizer's model exists
            return listed
    count = len(tokenizer) if mistral is not None else 1 + max(tokenizer.get_vocab().values(), default=-1)
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(count)))
    return tokens


def _ids_of_model(tokenizer: PreTrainedTokenizerBase, added: dict[int, Any]) -> set[int]:
    """The added tokens that the tokenizer's model has too, such as Gemma's runs of ``▁``."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return set()
    return {id_ for id_, token in added.items() if backend.model.token_to_id(token.content) == id_}


def _special_ids(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str | None], added: dict[int, Any]
) -> frozenset[int]:
    """The special tokens: those that the tokenizer lists, its unknown token, and SentencePiece's control pieces."""
    special = {id_ for id_ in (*tokenizer.all_special_ids, tokenizer.unk_token_id) if id_ is not None}
    special |= {id_ for id_, token in added.items() if token.special}
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    unknown = getattr(model, "unk_token", None)
    if unknown is not None and unknown in tokens:
        special.add(tokens.index(unknown))
    pieces = getattr(tokenizer, "sp_model", None)
    if pieces is not None:
        special |= {id_ for id_, token in enumerate(tokens) if pieces.IsControl(pieces.PieceToId(token))}
    return frozenset(special)


def _check(tokenizer: PreTrainedTokenizerBase, kind: Kind, surfaces: Surfaces, *, skipped: Set[int]) -> None:
    """Decode a sample of tokens, each between two plain words, and compare the text with their surfaces."""
    readable = list(compress(range(len(surfaces)), surfaces))
    sample = readable[:: max(1, len(readable) // SAMPLE)]
    texts = {id_: text for id_ in sample if id_ not in skipped and (text := _text(surfaces[id_]))}
    if not texts:
        return
    plain = (id_ for id_ in readable if id_ not in skipped and _PLAIN.fullmatch(surfaces[id_] or b""))
    word = next(plain, next(iter(texts)))
    start, middle = _decode(tokenizer, [word]), _text(surfaces[word])
    for id_, text in texts.items():
        if BYTE_PIECE.fullmatch(str(tokenizer.convert_ids_to_tokens(id_))):
            continue
        got, expected = _decode(tokenizer, [word, id_, word]), f"{start}{text}{middle}"
        if got != expected and (kind.exact or got.replace(" ", "") != expected.replace(" ", "")):
            raise VocabularyError(
                f"expected the {kind.name} tokenizer {type(tokenizer).__name__} to decode token {id_} between two words"
                f" to {expected!r}, got {got!r}",
                hint="its decoder changes the text; load the member with its original tokenizer",
            )


def _text(surface: bytes | None) -> str | None:
    try:
        return None if surface is None else surface.decode()
    except UnicodeDecodeError:
        return None


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
