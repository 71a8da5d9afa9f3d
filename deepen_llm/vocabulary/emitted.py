"""Map from a surface to the id that the tokenizer emits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from deepen_llm.vocabulary.rules import BYTE_PIECE

CONTEXTS = ("a{}a", "a{}", "{}", "{}a", "1{}1", "a {}")


class EmittedIds(Mapping[bytes, int]):
    """Map from a surface to the id that the tokenizer emits for it; built at the first look-up.

    Args:
        surfaces: The surface of each id, None where an id has none.
        shared: For each surface that several ids have, these ids, the emitted one first.
    """

    def __init__(self, surfaces: Sequence[bytes | None], shared: Sequence[Sequence[int]]) -> None:
        self._surfaces = surfaces
        self._shared = shared

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        ids = {surface: id_ for id_, surface in enumerate(self._surfaces) if surface is not None}
        for first, *_ in self._shared:
            ids[self._surfaces[first] or b""] = first
        return ids

    def __getitem__(self, surface: bytes) -> int:
        """Look up the id of a surface; raise KeyError if no token has it."""
        return self._ids[surface]

    def __contains__(self, surface: object) -> bool:
        """Whether a token has the surface."""
        return surface in self._ids

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the surfaces, in the order of the lowest id of each."""
        return iter(self._ids)

    def __len__(self) -> int:
        """The number of surfaces."""
        return len(self._ids)


def shared_ids(tokenizer: PreTrainedTokenizerBase, surfaces: Sequence[bytes | None]) -> list[tuple[int, ...]]:
    """List the ids of every surface that several ids have, first the id that the tokenizer emits.

    A normal token precedes a byte piece; among equals, the id comes first that the tokenizer emits when it encodes the
    surface in one of a few contexts, else the lowest id.

    Args:
        tokenizer: The tokenizer.
        surfaces: The surface of each of its ids, None where an id has none.
    """
    last = dict(zip(surfaces, range(len(surfaces)), strict=True))
    last.pop(None, None)
    if len(last) == len(surfaces) - surfaces.count(None):
        return []
    repeated: dict[bytes, list[int]] = {}
    for id_, surface in enumerate(surfaces):
        if surface is not None and last[surface] != id_:
            repeated.setdefault(surface, []).append(id_)
    groups = [(surface, [*ids, last[surface]]) for surface, ids in repeated.items()]
    return [_emitted_first(tokenizer, surface, ids) for surface, ids in groups]


def _emitted_first(tokenizer: PreTrainedTokenizerBase, surface: bytes, ids: list[int]) -> tuple[int, ...]:
    first = _emitted(tokenizer, surface, ids)
    return (first, *(id_ for id_ in ids if id_ != first))


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
