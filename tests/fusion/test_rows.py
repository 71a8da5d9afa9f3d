"""Law 8: rows made when needed, kept, shared and stood in for give what rows made afresh give."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from pydantic import ByteSize
from torch import Tensor

from deepen_llm.fusion import Bayes, Deepen
from deepen_llm.fusion.relative.likely import RowOptions, likely_tokens, needed_tokens
from deepen_llm.fusion.relative.method import RelativeMethod
from deepen_llm.fusion.relative.row_cache import RowCache
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.testing import FusibleMember, random_logits, random_member

MEMBERS = [random_member(seed, 400, 300, 32, end_of_text=2) for seed in (1, 2)]
LOGITS = [random_logits(member, 6, 11 + place, scale=6) for place, member in enumerate(MEMBERS)]
WEIGHTS = torch.full((6, 2), 0.5)
METHODS = pytest.mark.parametrize("method", [Deepen(memory_budget=ByteSize(0)), Bayes(memory_budget=ByteSize(0))])
ANCHORS = torch.arange(0, 400, 2)


def space(kept_bytes: int = 0, dtype: torch.dtype = torch.float32, *, center: bool = True) -> RelativeSpace:
    options = Bayes() if center else Deepen()
    return RelativeSpace(MEMBERS[0].embedding.to(dtype), ANCHORS, options, 402, dense=False, kept_bytes=kept_bytes)


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left.softmax(-1), right.softmax(-1), atol=2e-5, rtol=0)


def test_stand_ins_sum_to_one_as_rows_do() -> None:
    one = space()
    view = one.view(torch.eye(402)[:1], RowOptions())  # a row for token 0 alone: all others stand in
    torch.testing.assert_close(one.rows(torch.arange(402)).sum(1), torch.ones(402))
    torch.testing.assert_close(view.to_tokens(torch.ones(1, 200)), torch.ones(1, 402))


def test_into_and_back_are_one_map() -> None:
    p, g = LOGITS[0].softmax(-1), torch.randn(6, 200, generator=torch.Generator().manual_seed(0))
    view = space().view(p, RowOptions(max_rows=20))
    q = LOGITS[0].flip(0).softmax(-1)
    back = view.to_token_order(view.to_tokens(g))
    torch.testing.assert_close(
        (view.to_anchors(view.to_map_order(q)) * g).sum(1), (q * back).sum(1), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(view.to_token_order(view.to_map_order(q)), q)


@pytest.mark.parametrize("negligible", [0, 0.001])
@pytest.mark.parametrize("tail_mass", [0, 0.01, 0.5])
@pytest.mark.parametrize("scale", [0.01, 1, 6, 40])
@pytest.mark.parametrize("max_rows", [1, 7, 1000])
def test_the_likeliest_tokens_up_to_the_mass_get_rows(
    tail_mass: float, negligible: float, scale: float, max_rows: int
) -> None:
    p = (scale * torch.randn(4, 3000, generator=torch.Generator().manual_seed(5))).softmax(-1)
    options = RowOptions(max_rows=max_rows, tail_mass=tail_mass, negligible=negligible)
    tokens, needed = likely_tokens(p, options)
    for row, found, fixed, mask in zip(p, needed_tokens(p, options), tokens, needed, strict=True):
        values = row.sort(descending=True).values
        before = torch.cat([torch.zeros(1), values.double().cumsum(0)[:-1].float()])
        wanted = (before < 1 - tail_mass - 1e-6) & ((values >= negligible) | (torch.arange(3000) < 8))
        expected = values[:max_rows][wanted[:max_rows]]
        assert torch.equal(row[found[: len(expected)]], expected)  # values: of equally likely tokens, any will do
        assert torch.equal(row[fixed[mask][: len(expected)]], expected)
        assert float(values[len(expected) : len(found)].sum()) < 1e-3  # sums in fp32 may need some more
        assert len(set(found.tolist())) == len(found) <= max_rows


@METHODS
@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_rows_that_were_kept_give_what_fresh_ones_give(method: RelativeMethod, rows: int) -> None:
    fresh = method.prepare(MEMBERS, 0).fuse(LOGITS, WEIGHTS)
    budget = ByteSize(2 * 4 * 302 * rows)
    fusion = method.model_copy(update={"memory_budget": min(budget, 4 * 402 * 302)}).prepare(MEMBERS, 0)
    for _ in range(4):
        close(fusion.fuse(LOGITS, WEIGHTS), fresh)


def test_frequent_tokens_are_kept_and_others_given_up() -> None:
    cache, out = RowCache(2, 3), torch.empty(20, 3)
    rows = torch.arange(20.0).unsqueeze(1).expand(20, 3)
    cache.keep([0, 1], rows[:2])
    assert cache.load([0, 1, 2], out) == ([0, 1], [2])
    assert cache.load([0], out) == ([0], [])
    cache.keep([2], rows[2:3])
    assert cache.load([1, 2, 0], out) == ([2, 0], [1])  # 1 was the least recently used
    assert out[:2].tolist() == [[2.0] * 3, [0.0] * 3]
    for once in (range(3, 20), range(3, 12)):
        cache.keep(list(once), rows[: len(once)])
        assert cache.load([0, 2], out)[0] == ([0, 2] if len(once) > 9 else [])  # of many, those missed before
    none = RowCache(0, 3)
    none.keep([0, 1], rows[:2])
    assert none.load([0, 1], out) == ([], [0, 1])


@METHODS
def test_threads_share_the_kept_rows(method: RelativeMethod) -> None:
    fusion = method.model_copy(update={"memory_budget": ByteSize(4 * 302 * 24)}).prepare(MEMBERS, 0)
    parts = [[one[row : row + 1] for one in LOGITS] for row in range(6)]
    alone = [method.prepare(MEMBERS, 0).fuse(part, WEIGHTS[:1]) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for row, fused in enumerate(pool.map(lambda i: fusion.fuse(parts[i % 6], WEIGHTS[:1]), range(120))):
            close(fused, alone[row % 6])


@METHODS
@pytest.mark.parametrize("portion", [1, 4, 6])
@pytest.mark.parametrize("fixed", [False, True])
def test_portions_and_fixed_shapes_give_the_same(
    method: RelativeMethod, portion: int, *, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = torch.cat([method.prepare(MEMBERS, 0).fuse([x[i : i + 1] for x in LOGITS], WEIGHTS[:1]) for i in range(6)])
    monkeypatch.setattr("deepen_llm.fusion.relative.space.needs_fixed_shapes", lambda _: fixed)
    monkeypatch.setattr("deepen_llm.fusion.relative.method.RelativeMethod.portion", lambda *_: portion)
    close(method.prepare(MEMBERS, 0).fuse(LOGITS, WEIGHTS), alone)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_lose_nothing(dtype: torch.dtype, *, center: bool) -> None:
    tokens = torch.arange(0, 402, 3)
    embedding = MEMBERS[0].embedding.to(dtype)
    options = Bayes() if center else Deepen()
    half, exact = (RelativeSpace(e, ANCHORS, options, 402, dense=False) for e in (embedding, embedding.float()))
    torch.testing.assert_close(half.rows(tokens), exact.rows(tokens), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_computed_once_is_read_from_disk(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEEPEN_CACHE", str(tmp_path))
    once = space(dtype=dtype)
    assert not list(tmp_path.iterdir())  # so few anchors take no time
    monkeypatch.setattr("deepen_llm.fusion.relative.layout._LEAST", 0)
    kept, read, other = space(dtype=dtype), space(dtype=dtype), space(dtype=dtype, center=False)
    assert len(list(tmp_path.glob("space-*"))) == 2
    for one in (kept, read):
        assert (one.layout.temperature, one.layout.self_mass) == (once.layout.temperature, once.layout.self_mass)
        assert torch.equal(one.layout.anchor, once.layout.anchor)
        assert torch.equal(one.rows(ANCHORS), once.rows(ANCHORS))
    assert other.layout.temperature != once.layout.temperature


def test_a_copy_or_a_pickle_gives_the_same() -> None:
    method = Bayes(memory_budget=ByteSize(4 * 302 * 24))
    fusion = method.prepare(MEMBERS, 0)
    fused = fusion.fuse(LOGITS, WEIGHTS)
    for one in (copy.deepcopy(fusion), pickle.loads(pickle.dumps(fusion))):  # noqa: S301
        close(one.fuse(LOGITS, WEIGHTS), fused)


@pytest.mark.parametrize("center", [True, False])
def test_tokens_beyond_the_embedding_are_near_to_nothing(*, center: bool) -> None:
    member: FusibleMember = MEMBERS[0]
    for dtype in (torch.float32, torch.bfloat16):
        one = RelativeSpace(member.embedding.to(dtype), ANCHORS, Bayes() if center else Deepen(), 410, dense=False)
        torch.testing.assert_close(one.rows(torch.tensor([405])), torch.full((1, 200), 1 / 200))
