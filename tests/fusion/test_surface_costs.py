"""What a fused step of `surface` costs: memory that is held, operators, and waits for a device."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepen_llm.fusion import Surface
from deepen_llm.fusion.base import Fusion
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.surfaces.transfer import fetched
from deepen_llm.members.base import Context
from deepen_llm.members.local.context import LocalContext
from tests.fusion.operators import Operators
from tests.fusion.test_surface import KINDS, PAIRS, PLACES, PROMPT, case, fusion_of, member

TRIO = ("byte_level_bpe", "sentencepiece_bpe", "wordpiece")
PIECES = [" j", "um", "ps", " ov", "er", " the", " la", "zy"]


def arrays(one: Any, seen: set[int]) -> Iterator[Any]:
    """All tensors and arrays that an object holds, the members left out."""
    if id(one) in seen or isinstance(one, type):
        return
    seen.add(id(one))
    if isinstance(one, (Tensor, np.ndarray)):
        yield one
    elif isinstance(one, dict):
        for part in one.values():
            yield from arrays(part, seen)
    elif isinstance(one, list):
        for part in one:
            yield from arrays(part, seen)
    elif type(one).__module__.startswith("deepen_llm.fusion"):
        yield from arrays(vars(one), seen)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_takes_at_most_three_numbers_a_token(pair: tuple[str, str]) -> None:
    fusion, (logits, past) = fusion_of(pair, Surface()), case(pair, Surface())
    fusion.fuse(logits, torch.tensor([[0.4, 0.6]] * len(PLACES)), past)  # what is made later is made now
    found = list(arrays(fusion, set()))
    tokens = sum(member(kind).vocabulary.size for kind in pair)
    assert len(found) >= 8
    assert sum(one.nbytes for one in found) <= 3 * 8 * tokens


def steps(rows: int) -> Iterator[tuple[list[Context], list[Tensor], Past]]:
    """The members' contexts, logits and past at each step of the same text."""
    fusion = fusion_of(TRIO, Surface())
    contexts: list[Context] = [
        member(kind).open([member(kind).encode_prompt(PROMPT)] * rows, back=fusion.back if i else 0)
        for i, kind in enumerate(TRIO)
    ]
    for piece in PIECES:
        readings = [context.read([()] * rows) for context in contexts]
        yield contexts, [one.logits for one in readings], Past([one.trails for one in readings], [b""] * rows)
        for context in contexts:
            context.append([[piece]] * rows)


def counted(fusion: Fusion, rows: int) -> list[Operators]:
    found = []
    for _, logits, past in steps(rows):
        with Operators() as operators:
            fusion.fuse(logits, torch.full((rows, 3), 1 / 3), past)
        found.append(operators)
    return found


def test_a_batch_takes_the_operators_of_one_row_and_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = list[int]()

    def fetching(given: Sequence[Tensor]) -> Any:
        fetches.append(len(given))
        return fetched(given)

    monkeypatch.setattr("deepen_llm.fusion.methods.surface.fetched", fetching)
    fusion = fusion_of(TRIO, Surface())
    one, batch = counted(fusion, 1), counted(fusion, 8)
    assert fetches == [3] * 2 * len(PIECES)  # of two members and the main model, at once
    assert sum(operators.waits for operators in [*one, *batch]) == 0  # but for that
    for alone, together in zip(one, batch, strict=True):
        assert sum(together.run.values()) <= sum(alone.run.values()) + 4 <= 110


def test_a_context_keeps_as_many_rows_of_logits_as_are_looked_at() -> None:
    found = list[list[Context]]()
    for contexts, _, _ in steps(3):
        found.append(contexts)
        for kind, context in list(zip(TRIO, contexts, strict=True))[1:]:
            assert kept(context) <= 3 * 5 * member(kind).vocabulary.size
    for kind, context in list(zip(TRIO, found[-1], strict=True))[1:]:
        context.select([1])
        assert kept(context) <= 5 * member(kind).vocabulary.size
        for draft in ([" brown", " fox", "es", " and"], [" a"], []):
            fitting = draft[: len(context.boundaries([draft])[0]) - 1]
            (lengths,) = context.read([fitting]).lengths
            assert kept(context) <= (5 + lengths[-1] - lengths[0]) * member(kind).vocabulary.size
            context.append([[" a"]])


def kept(context: Context) -> int:
    """How many logits the memory of a context's rows holds."""
    assert isinstance(context, LocalContext)
    rows = [one for row in context.sequences for one in row._logits.values()]
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() // 4 for one in rows}
    return sum(storages.values())


@pytest.mark.parametrize("kinds", [TRIO, tuple(KINDS[:3])], ids="-".join)
def test_evidence_at_some_places_is_theirs(kinds: tuple[str, ...]) -> None:
    _, past = case(kinds, Surface())
    logits, _ = case(kinds, Surface())
    fusion_of(kinds, Surface()).read(logits, past)
    chosen = [7, 2, 5]
    for found in past.evidence.values():
        part = found.at(chosen)
        assert list(part) == [found[place] for place in chosen]
        assert [part[place] for place in (0, -1)] == [found[7], found[5]]
        edges = {(chosen[part.positions[group]], part.tokens[group], target) for group, target in pairs(part)}
        whole = {(found.positions[group], found.tokens[group], target) for group, target in pairs(found)}
        assert edges == {one for one in whole if one[0] in chosen}
    assert any(found[place].straddlers for found in past.evidence.values() for place in chosen)


def pairs(found: Any) -> list[tuple[int, int]]:
    return list(zip(found.rests.groups.tolist(), found.rests.targets.tolist(), strict=True))
