"""Law 3: `deepen` gives the published numbers; law 8: its fast path gives the dense result."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepen_llm.errors import VocabularyError
from deepen_llm.fusion import Bayes, Deepen, FusionMethod
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.testing import FusibleMember, random_logits, random_member, vocabulary_of

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "deepen_reference.json").read_text())["cases"]
METHODS: list[FusionMethod] = [
    Deepen(),
    Deepen(anchors="pairwise"),
    Deepen(center=True, normalize_rows=False, temperature=None, self_mass=0.9),
    Bayes(),
    Bayes(anchors="joint"),
    Bayes(center=False, normalize_rows=True, temperature=100, self_mass=None),
]


def members_of(case: dict[str, Any]) -> list[FusibleMember]:
    """The case's members, their anchors spelled alike and everything else apart."""
    made = []
    for place, member in enumerate(case["members"]):
        surfaces: list[bytes | None] = [b"%d:%d" % (place, token) for token in range(member["vocab_size"])]
        for number, token in enumerate(member["anchor_ids"]):
            surfaces[token] = b"anchor %d" % number
        made.append(FusibleMember(f"member {place}", vocabulary_of(surfaces), torch.tensor(member["embedding"])))
    return made


def logits_of(case: dict[str, Any]) -> list[Tensor]:
    return [torch.tensor(member["logits"])[None] for member in case["members"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_logits(case: dict[str, Any]) -> None:
    method = Deepen(relr=case["relr"], search_steps=case["search_steps"], min_anchors=1)
    fusion = method.prepare(members_of(case), 0)
    fused = fusion.fuse(logits_of(case), torch.tensor([case["aggregation_weights"]]))
    torch.testing.assert_close(fused[0], torch.tensor(case["expect"]["logits"]), atol=1e-5, rtol=0)
    assert int(fused.argmax()) == case["expect"]["next_token"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_relative_representations(case: dict[str, Any]) -> None:
    options = SpaceOptions(center=False, normalize_rows=True, temperature=case["temperature"], self_mass=None)
    aggregated = torch.zeros(1)
    for member, weight in zip(case["members"], case["aggregation_weights"], strict=True):
        anchors, embedding = torch.tensor(member["anchor_ids"]), torch.tensor(member["embedding"])
        space = RelativeSpace(embedding, anchors, options, member["vocab_size"], dense=True)
        if not aggregated.any():
            row = torch.tensor(case["expect"]["main_relative_row_0"])
            torch.testing.assert_close(space.rows(torch.tensor([0]))[0], row, atol=1e-5, rtol=0)
        p = torch.tensor(member["logits"])[None].softmax(-1)
        aggregated = aggregated + weight * space.view(p, Deepen()).to_anchors_once(p)
    torch.testing.assert_close(aggregated[0], torch.tensor(case["expect"]["aggregated"]), atol=1e-5, rtol=0)


def test_a_rate_of_zero_gives_the_main_model() -> None:
    members = [random_member(1, 60, 40, 16), random_member(2, 70, 40, 16)]
    logits = [random_logits(member, 3, 5) for member in members]
    fused = Deepen(relr=0).prepare(members, 0).fuse(logits, torch.full((3, 2), 0.5))
    assert torch.equal(fused, logits[0])


@pytest.mark.parametrize("method", METHODS)
def test_all_rows_made_when_needed_give_the_dense_result(method: FusionMethod) -> None:
    members = [random_member(seed, 150 + seed, 90, 24, end_of_text=2) for seed in (1, 2, 3)]
    logits = [random_logits(member, 4, 7) for member in members]
    weights = torch.tensor([[0.5, 0.3, 0.2]]).expand(4, -1)
    dense = method.prepare(members, 0).fuse(logits, weights)
    every = {"memory_budget": 0, "max_rows": 200, "tail_mass": 0, "negligible": 0}
    rows = method.model_copy(update=every).prepare(members, 0).fuse(logits, weights)
    torch.testing.assert_close(rows.softmax(-1), dense.softmax(-1), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "tail_mass", "same", "apart"),
    [
        (Deepen(), 0, 1.0, 0.005),
        (Deepen(), 0.01, 0.96, 0.03),
        (Bayes(rounds=1), 0, 1.0, 0.005),
        (Bayes(rounds=1), 0.01, 0.96, 0.03),
        (Bayes(), 0, 1.0, 0.005),
        (Bayes(), 0.01, 0.96, 0.045),  # what rows leave out in one round stands at the start of the next
    ],
)
def test_few_rows_give_the_dense_choice_where_distributions_are_peaked(
    method: FusionMethod, tail_mass: float, same: float, apart: float
) -> None:
    members = [random_member(seed, 400, 300, 32, end_of_text=1) for seed in (1, 2)]
    logits = [random_logits(member, 50, 11 + place, scale=8) for place, member in enumerate(members)]
    weights = torch.full((50, 2), 0.5)
    dense = method.prepare(members, 0).fuse(logits, weights)
    limits = {"memory_budget": 0, "max_rows": 128, "tail_mass": tail_mass, "negligible": tail_mass / 10}
    few = method.model_copy(update=limits).prepare(members, 0).fuse(logits, weights)
    assert (dense.argmax(-1) == few.argmax(-1)).float().mean() >= same
    assert (dense.softmax(-1) - few.softmax(-1)).abs().sum(-1).mean() / 2 < apart


@pytest.mark.parametrize("method", METHODS)
def test_the_end_of_text_is_one_token_whatever_its_ids(method: FusionMethod) -> None:
    main = random_member(1, 60, 50, 16, end_of_text=3)
    one, several = random_member(2, 60, 50, 16, end_of_text=1), random_member(2, 60, 50, 16, end_of_text=1)
    several.vocabulary = vocabulary_of([*one.vocabulary.surfaces, None], [60, 61])
    several.embedding = torch.cat([one.embedding, one.embedding.mean(0, keepdim=True)])  # centred as before
    logits, other = random_logits(main, 2, 3), random_logits(one, 2, 4)
    split = torch.cat([other, other[:, 60:] - 0.5], 1)  # the same mass, shared by two ids
    split[:, 60:] += other[:, 60:] - split[:, 60:].logsumexp(-1, keepdim=True)
    weights = torch.full((2, 2), 0.5)
    fused = method.prepare([main, one], 0).fuse([logits, other], weights)
    same = method.prepare([main, several], 0).fuse([logits, split], weights)
    torch.testing.assert_close(fused.softmax(-1), same.softmax(-1), atol=1e-4, rtol=0)
    share = fused[:, 60:].softmax(-1)  # the main model's own ids share the mass as they did
    torch.testing.assert_close(share, logits[:, 60:].softmax(-1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("ruled_out", [[60, 61, 62], [61]])
def test_the_fused_end_of_text_is_kept_where_the_main_model_rules_its_own_out(ruled_out: list[int]) -> None:
    members = [random_member(1, 60, 50, 16, end_of_text=3), random_member(1, 60, 50, 16, end_of_text=3)]
    logits = [random_logits(member, 2, 3) for member in members]
    logits[0][:, ruled_out] = -torch.inf
    fused = Bayes().prepare(members, 0).fuse(logits, torch.full((2, 2), 0.5)).softmax(-1)
    expected = sum(one.softmax(-1)[:, 60:].sum(-1) for one in logits) / 2
    torch.testing.assert_close(fused[:, 60:].sum(-1), expected)
    assert fused.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_too_few_anchors_are_refused(method: FusionMethod) -> None:
    members = [random_member(seed, 60, 20, 16) for seed in (1, 2)]
    with pytest.raises(VocabularyError, match="at least 32 shared anchors, got 20") as caught:
        method.prepare(members, 0)
    assert "min_anchors" in caught.value.hint
