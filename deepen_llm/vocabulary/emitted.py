"""From a surface back to the one id that a tokenizer emits for it."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from deepen_llm.vocabulary.rules import BYTE_PIECE

CONTEXTS = ("a{}a", "a{}", "{}", "{}a", "1{}1", "a {}")


def emitted_ids(tokenizer: PreTrainedTokenizerBase, surfaces: Sequence[bytes | None]) -> dict[bytes, tuple[int, ...]]:
    """Map every surface to its ids, the one that the tokenizer emits for it in the middle of a text first.

    Only a surface that several ids have needs a choice: a normal token before a byte piece, then one that the
    tokenizer emits when it encodes the surface in some context, then the lowest id.

    Args:
        tokenizer: The tokenizer that the surfaces are of.
        surfaces: A surface per id.
    """
    ids: dict[bytes, tuple[int, ...]] = {}
    for id_, surface in enumerate(surfaces):
        if surface is not None:
            ids[surface] = (*ids.get(surface, ()), id_)
    for surface, candidates in ids.items():
        if len(candidates) > 1:
            first = _emitted(tokenizer, surface, list(candidates))
            ids[surface] = (first, *(id_ for id_ in candidates if id_ != first))
    return ids


def _emitted(tokenizer: PreTrainedTokenizerBase, surface: bytes, candidates: list[int]) -> int:
    tokens = tokenizer.convert_ids_to_tokens(candidates)
    normal = [id_ for id_, token in zip(candidates, tokens, strict=True) if not BYTE_PIECE.fullmatch(token)]
    candidates = normal or candidates
    if len(candidates) == 1:
        return candidates[0]
    try:
        text = surface.decode()
    except UnicodeDecodeError:
        return candidates[0]
    for context in CONTEXTS:
        emitted = set(tokenizer.encode(context.format(text), add_special_tokens=False))
        for id_ in candidates:
            if id_ in emitted:
                return id_
    return candidates[0]
