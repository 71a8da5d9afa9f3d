"""How far members agree on their shared anchors."""

import dataclasses
from functools import cache

import pytest
import torch

from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, agreement
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import shared_anchors
from tests.models import small

SPACES = pytest.mark.parametrize("space", [PAPER, CALIBRATED], ids=["paper", "calibrated"])


@cache
def member(architecture: str, kind: str, seed: int = 0) -> LocalMember:
    return LocalMember(*small(architecture, kind, seed))


@SPACES
def test_identical_members_agree(space: SpaceOptions) -> None:
    same = [member("llama", "byte_level_bpe"), member("llama", "byte_level_bpe")]
    found = agreement(same, space)
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.cosine_others == pytest.approx(1, abs=1e-5)
    assert found.neighbors == 1


@SPACES
def test_unrelated_members_do_not_agree(space: SpaceOptions) -> None:
    found = agreement([member("llama", "byte_level_bpe"), member("gpt2", "sentencepiece_bpe")], space)
    assert found.cosine_others < 0.5
    assert found.neighbors < found.chance + 0.05


@SPACES
def test_it_is_what_the_formula_says(space: SpaceOptions) -> None:
    pair = [member("llama", "byte_level_bpe"), member("qwen2", "sentencepiece_unigram")]
    ids = shared_anchors([one.vocabulary for one in pair])
    left, right = (
        RelativeSpace(embedding_of(one), anchors, space, one.vocabulary.size, dense=False).rows(anchors)
        for one, anchors in zip(pair, ids, strict=True)
    )
    cosines, own = [], []
    for a in range(ids.shape[1]):
        others = torch.arange(ids.shape[1]) != a
        cosines.append(torch.cosine_similarity(left[a, others], right[a, others], dim=0, eps=1e-30))
        own.append(left[a, a])
    found = agreement(pair, space, sample=ids.shape[1])
    assert found.anchors == found.sampled == ids.shape[1]
    assert found.cosine_others == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)
    assert found.self_mass[0] == pytest.approx(float(torch.stack(own).mean()), abs=1e-5)


def test_more_than_two_members_are_the_mean_of_their_pairs() -> None:
    kinds = ["byte_level_bpe"] * 3  # one vocabulary, so that pairs and trio share the same anchors
    three = [member("llama", kind, seed) for seed, kind in enumerate(kinds)]
    pairs = [agreement([three[i], three[j]], CALIBRATED) for i, j in ((0, 1), (0, 2), (1, 2))]
    together = agreement(three, CALIBRATED)
    assert together.cosine_others == pytest.approx(sum(one.cosine_others for one in pairs) / 3, abs=1e-5)
    assert together.neighbors == pytest.approx(sum(one.neighbors for one in pairs) / 3, abs=1e-5)


def test_memory_is_bounded_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [member("llama", "byte_level_bpe"), member("gpt2", "sentencepiece_bpe")]
    whole = agreement(pair, PAPER)
    monkeypatch.setattr("deepen_llm.diagnostics.agreement._BLOCK_BYTES", 1)
    rows: list[int] = []
    once = RelativeSpace.rows

    def counted(space: RelativeSpace, ids: torch.Tensor) -> torch.Tensor:
        rows.append(len(ids))
        return once(space, ids)

    monkeypatch.setattr(RelativeSpace, "rows", counted)
    in_blocks = agreement(pair, PAPER)
    assert dataclasses.astuple(in_blocks)[3:] == pytest.approx(dataclasses.astuple(whole)[3:], abs=1e-5)
    assert rows.count(1) == 2 * whole.sampled


def test_a_sample_of_anchors_is_enough() -> None:
    found = agreement([member("llama", "byte_level_bpe"), member("gpt2", "sentencepiece_bpe")], PAPER, sample=16)
    assert found.sampled == 16 < found.anchors
