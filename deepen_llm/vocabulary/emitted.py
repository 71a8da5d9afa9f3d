"""From a surface back to the one id that a tokenizer emits for it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from deepen_llm.vocabulary.rules import BYTE_PIECE

CONTEXTS = ("a{}a", "a{}", "{}", "{}a", "1{}1", "a {}")


class EmittedIds(Mapping[bytes, int]):
    """From a surface to the id that the tokenizer emits for it; a dictionary that is built when it is first read.

    Args:
        surfaces: A surface per id, None where there is none.
        shared: The ids of every surface that several have, the emitted one first.
    """

    def __init__(self, surfaces: Sequence[bytes | None], shared: Sequence[Sequence[int]]) -> None:
        self._surfaces, self._shared = surfaces, shared

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        ids = {surface: id_ for id_, surface in enumerate(self._surfaces) if surface is not None}
        for first, *_ in self._shared:
            ids[self._surfaces[first] or b""] = first
        return ids

    def __getitem__(self, surface: bytes) -> int:
        """The id; KeyError where no token has the surface."""
        return self._ids[surface]

    def __contains__(self, surface: object) -> bool:
        """Whether a token has the surface; texts are spelled by asking this for every length."""
        return surface in self._ids

    def __iter__(self) -> Iterator[bytes]:
        """Every surface, by the lowest id that has it."""
        return iter(self._ids)

    def __len__(self) -> int:
        """How many surfaces there are."""
        return len(self._ids)


def shared_ids(tokenizer: PreTrainedTokenizerBase, surfaces: Sequence[bytes | None]) -> list[tuple[int, ...]]:
    """The ids of every surface that several ids have, the one that the tokenizer emits in the middle of a text first.

    A normal token goes before a byte piece, then one that the tokenizer emits when it encodes the surface in some
    context, then the lowest id.

    Args:
        tokenizer: The tokenizer that the surfaces are of.
        surfaces: A surface per id.
    """
    last = dict(zip(surfaces, range(len(surfaces)), strict=True))
    last.pop(None, None)
    if len(last) == len(surfaces) - surfaces.count(None):
        return []
    found: dict[bytes, list[int]] = {}
    for id_, surface in enumerate(surfaces):
        if surface is not None and last[surface] != id_:
            found.setdefault(surface, []).append(id_)
    groups = [(surface, [*ids, last[surface]]) for surface, ids in found.items()]
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
