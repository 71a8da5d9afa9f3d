"""Law 3: `bayes` is a distribution as it stands, and with identical members is theirs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ByteSize

from deepen_llm.fusion import Bayes
from deepen_llm.fusion.methods.bayes import inverse_by_bayes
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.rows import DenseRows
from deepen_llm.fusion.relative.space import RelativeSpace
from deepen_llm.testing import FusibleMember, random_logits, random_member, vocabulary_of

THREE = [random_member(place, 120, 80, 16, end_of_text=1) for place in (1, 2, 3)]
FUSIONS = {
    (budget, rounds): Bayes(memory_budget=ByteSize(budget), max_rows=40, rounds=rounds).prepare(THREE, 0)
    for budget in (0, 2**28)
    for rounds in (1, 3)
}


@given(seed=st.integers(0, 10**6), scale=st.floats(0, 60), setting=st.sampled_from(list(FUSIONS)))
@settings(max_examples=30, deadline=None)
def test_it_is_a_distribution_without_being_normalised(seed: int, scale: float, setting: tuple[int, int]) -> None:
    logits = [random_logits(member, 2, seed + place, scale) for place, member in enumerate(THREE)]
    fused = FUSIONS[setting].fuse(logits, torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.5, 0.5]]))
    q = (fused - logits[0].logsumexp(-1, keepdim=True)).exp()  # fused logits have the scale of the main model's
    torch.testing.assert_close(q.sum(-1), torch.ones(2), atol=2e-5, rtol=0)


def permuted(member: FusibleMember) -> tuple[FusibleMember, torch.Tensor]:
    """A member with the same tokens in another order, and its ids' ids in the first one."""
    order = torch.randperm(member.vocabulary.size, generator=torch.Generator().manual_seed(3))
    surfaces = [member.vocabulary.surfaces[i] for i in order.tolist()]
    return FusibleMember("permuted", vocabulary_of(surfaces), member.embedding[order]), order


def test_further_rounds_let_others_correct_a_main_model_that_is_sure() -> None:
    """The right token has hardly any prior: one round gives it hardly any more, further ones do."""
    main = random_member(1, 80, 80, 64)
    other, order = permuted(main)
    said = torch.zeros(2, 1, 80)
    said[0, 0, 5] = said[1, 0, 7] = 16.0
    found = []
    for rounds in (1, 2, 4):
        fused = (
            Bayes(rounds=rounds)
            .prepare([main, other], 0)
            .fuse([said[0], said[1][:, order]], torch.tensor([[0.3, 0.7]]))
        )
        found.append(float(fused.softmax(-1)[0, 7]))
    assert found[0] < 0.2
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.6


def test_the_same_distribution_over_another_vocabulary_of_the_same_tokens_is_kept() -> None:
    member = random_member(1, 80, 80, 16)
    other, order = permuted(member)
    logits = random_logits(member, 3, 5)
    fused = Bayes().prepare([member, other], 0).fuse([logits, logits[:, order]], torch.full((3, 2), 0.5))
    torch.testing.assert_close(fused.softmax(-1), logits.softmax(-1), atol=1e-5, rtol=1e-4)


def test_it_is_one_em_step_on_the_papers_objective() -> None:
    """Towards a target r, the step never lowers Σ_a r(a) log (p R)(a), the paper's objective up to a constant."""
    made = torch.Generator().manual_seed(0)
    rows = DenseRows(torch.randn(50, 30, generator=made).mul(2).softmax(-1))
    for _ in range(20):
        p = torch.randn(1, 50, generator=made).softmax(-1)
        r = torch.randn(1, 30, generator=made).mul(2).softmax(-1)
        before, after = ((r * rows.to_anchors(q).log()).sum() for q in (p, inverse_by_bayes(p, r, rows)))
        assert after >= before - 1e-6


@pytest.mark.parametrize("self_mass", [0.3, 0.9])
def test_calibration_gives_anchors_the_same_mean_mass_on_themselves(self_mass: float) -> None:
    options = SpaceOptions(center=True, normalize_rows=False, temperature=None, self_mass=self_mass)
    for seed, dim in ((1, 16), (2, 64)):
        member = random_member(seed, 200, 120, dim)
        anchors = torch.arange(0, 200, 2)
        space = RelativeSpace(member.embedding, anchors, options, 200, dense=True)
        own = space.rows(anchors).diagonal().mean()
        assert float(own) == pytest.approx(self_mass, abs=0.01)
