"""Reading a whole tokenizer: every token's surface, checked against what the tokenizer itself decodes."""

import re
from collections.abc import Sequence, Set
from typing import Any

from transformers import PreTrainedTokenizerBase

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary.kinds import Kind, find_kind, mistral_model
from deepen_llm.vocabulary.rules import BYTE_PIECE

SAMPLE = 256  # tokens that a tokenizer decodes as a check
Surfaces = list[bytes | None]


def read_surfaces(tokenizer: PreTrainedTokenizerBase) -> tuple[Surfaces, frozenset[int]]:
    """Read the surfaces of a tokenizer's tokens and which of them are special.

    Args:
        tokenizer: Any `transformers` tokenizer.

    Returns:
        A surface per id up to the tokenizer's highest, None for special tokens and unused ids; and the
        special tokens' ids.

    Raises:
        VocabularyError: The tokenizer is of no known kind, or decodes tokens to something else than their
            surfaces.
    """
    kind = find_kind(tokenizer)
    mistral = mistral_model(tokenizer)
    if kind.name == "tekken":
        special = frozenset[int](tokenizer.all_special_ids)
        raw: Surfaces = [mistral.id_to_byte_piece(id_) for id_ in range(len(tokenizer))]
        added: dict[int, Any] = {}
    else:
        tokens = _tokens(tokenizer, mistral)
        added = {} if mistral is not None else tokenizer.added_tokens_decoder
        special = _special_ids(tokenizer, tokens, added)
        raw = [None if token is None else kind.surface(token) for token in tokens]
        for id_ in added.keys() - _own_ids(tokenizer, added):
            raw[id_] = kind.added(added[id_].content)
    surfaces = [None if id_ in special else surface for id_, surface in enumerate(raw)]
    _check(tokenizer, kind, surfaces, skipped=added.keys())
    return surfaces, special


def _tokens(tokenizer: PreTrainedTokenizerBase, mistral: Any) -> Sequence[str | None]:
    """The token of every id up to the highest; None where there is none."""
    count = len(tokenizer) if mistral is not None else 1 + max(tokenizer.get_vocab().values(), default=-1)
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(count)))
    return tokens


def _own_ids(tokenizer: PreTrainedTokenizerBase, added: dict[int, Any]) -> set[int]:
    """Of the added tokens, those that the model had anyway: Gemma's runs of `▁`, for one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return set()
    return {id_ for id_, token in added.items() if backend.model.token_to_id(token.content) == id_}


def _special_ids(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str | None], added: dict[int, Any]
) -> frozenset[int]:
    """Special by the tokenizer's own word, as its model's unknown token, or as SentencePiece's control."""
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
    """Decode a sample of tokens between two plain words, and compare with their surfaces."""
    texts = {id_: text for id_, text in enumerate(map(_text, surfaces)) if text and id_ not in skipped}
    if not texts:
        return
    plain = re.compile(" ?[A-Za-z]{2,}")
    word = next((id_ for id_, text in texts.items() if plain.fullmatch(text)), next(iter(texts)))
    start = _decode(tokenizer, [word])
    for id_ in list(texts)[:: max(1, len(texts) // SAMPLE)]:
        if BYTE_PIECE.fullmatch(str(tokenizer.convert_ids_to_tokens(id_))):
            continue
        got, expected = _decode(tokenizer, [word, id_, word]), start + texts[id_] + texts[word]
        if got != expected and (kind.exact or got.replace(" ", "") != expected.replace(" ", "")):
            raise VocabularyError(
                f"The tokenizer {type(tokenizer).__name__} looks like {kind.name}, but it decodes token {id_}"
                f" between two words to {got!r}, where {expected!r} was expected.",
                hint="Its decoder does more than its kind's; load the member with its original tokenizer.",
            )


def _text(surface: bytes | None) -> str | None:
    try:
        return None if surface is None else surface.decode()
    except UnicodeDecodeError:
        return None


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
