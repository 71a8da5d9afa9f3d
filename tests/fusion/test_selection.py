"""Which anchors are used: by chance, by consistency, far apart; and all of them where that is what was asked for."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deepen_llm.config import EnsembleConfig
from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, agreement
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import Bayes, Deepen, FusionMethod
from deepen_llm.fusion.relative import consistency as module
from deepen_llm.fusion.relative.consistency import consistency
from deepen_llm.fusion.relative.layout import SpaceOptions
from deepen_llm.fusion.relative.method import RelativeMethod
from deepen_llm.fusion.relative.selection import AnchorOptions, chosen_anchors, spread_out
from deepen_llm.storage import store
from deepen_llm.testing import FusibleMember, random_logits, random_member
from deepen_llm.vocabulary import shared_anchors

THREE = [random_member(seed, 150 + seed, 90, 24, end_of_text=1) for seed in (1, 2, 3)]
CHOICES = ["random", "consistent", "spread"]
METHODS: list[RelativeMethod] = [Deepen(), Deepen(anchors="pairwise"), Bayes(), Bayes(anchors="joint")]
SPACES = pytest.mark.parametrize("space", [PAPER, CALIBRATED], ids=["paper", "calibrated"])


def choice(name: str, count: int, seed: int = 0) -> AnchorOptions:
    return AnchorOptions(anchor_choice=name, anchor_count=count, anchor_seed=seed)


def shared(members: Sequence[FusibleMember]) -> Tensor:
    return shared_anchors([member.vocabulary for member in members])


def columns_of(members: Sequence[FusibleMember], options: AnchorOptions, space: SpaceOptions = CALIBRATED) -> list[int]:
    """The columns of what is chosen, which are those of the shared anchors in their order."""
    ids = shared(members)
    chosen = chosen_anchors(members, ids, 0, options, space)
    columns = [ids[0].tolist().index(token) for token in chosen[0].tolist()]
    assert torch.equal(ids[:, columns], chosen)
    assert columns == sorted(set(columns))
    return columns


@pytest.mark.parametrize("name", CHOICES)
def test_the_end_of_text_stays_and_the_count_is_kept(name: str) -> None:
    last = shared(THREE).shape[1] - 1
    for count in (1, 2, 40, last):
        columns = columns_of(THREE, choice(name, count))
        assert len(columns) == count
        assert columns[-1] == last


@pytest.mark.parametrize("name", CHOICES)
def test_members_without_an_end_of_text_may_lose_any_anchor(name: str) -> None:
    members = [random_member(seed, 100, 60, 16) for seed in (1, 2)]
    assert len(columns_of(members, choice(name, 7))) == 7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CHOICES)
def test_as_many_as_there_are_or_more_are_all_to_the_bit(method: RelativeMethod, name: str) -> None:
    logits = [random_logits(member, 3, 5) for member in THREE]
    weights = torch.tensor([[0.2, 0.5, 0.3]] * 3)
    everything = method.prepare(THREE, 1).fuse(logits, weights)
    for count in (shared(THREE).shape[1], 10**6):
        given = {**method.model_dump(), "anchor_choice": name, "anchor_count": count}
        assert torch.equal(type(method)(**given).prepare(THREE, 1).fuse(logits, weights), everything)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CHOICES)
def test_few_anchors_give_distributions_that_repeat(method: RelativeMethod, name: str) -> None:
    logits = [random_logits(member, 3, 5) for member in THREE]
    weights = torch.tensor([[0.2, 0.5, 0.3]] * 3)
    chosen = type(method)(**{**method.model_dump(), "anchor_choice": name, "anchor_count": 12})
    fused = [chosen.prepare(THREE, 1).fuse(logits, weights) for _ in range(2)]
    assert torch.equal(*fused)
    torch.testing.assert_close(fused[0].softmax(-1).sum(-1), torch.ones(3))
    assert not torch.allclose(fused[0], method.prepare(THREE, 1).fuse(logits, weights), atol=1e-3)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("method", [Deepen, Bayes])
def test_identical_members_keep_their_choice_with_few_anchors(method: type[RelativeMethod], name: str) -> None:
    member = random_member(1, 80, 60, 16, end_of_text=1)
    logits = random_logits(member, 4, 5)
    options = {"anchor_choice": name, "anchor_count": 20}
    fused = method(**options).prepare([member, member], 0).fuse([logits, logits], torch.full((4, 2), 0.5))
    assert torch.equal(fused.argmax(-1), logits.argmax(-1))


def test_a_seed_repeats_and_fewer_are_among_the_more() -> None:
    drawn = {seed: columns_of(THREE, choice("random", 30, seed)) for seed in (0, 1)}
    assert drawn[0] == columns_of(THREE, choice("random", 30, 0)) != drawn[1]
    assert set(columns_of(THREE, choice("random", 12, 1))) < set(drawn[1])


@SPACES
def test_the_consistent_ones_are_those_of_the_highest_consistency(space: SpaceOptions) -> None:
    found = consistency(THREE, shared(THREE), space)
    columns = columns_of(THREE, choice("consistent", 21), space)[:-1]  # without the end of text
    others = sorted(set(range(len(found.values) - 1)) - set(columns))
    assert found.values[columns].min() >= found.values[others].max()


def test_planted_strangers_are_the_least_consistent() -> None:
    """Some tokens of one member get the embeddings of nothing that the other one knows."""
    left, right = (random_member(seed, 60, 60, 24) for seed in (1, 2))
    ids = shared([left, right])
    strange = [3, 17, 40]
    right.embedding[ids[1, strange]] = torch.randn(3, 24, generator=torch.Generator().manual_seed(7))
    ranked = consistency([left, right], ids, CALIBRATED).ranked()
    assert sorted(ranked[-3:]) == strange


@SPACES
def test_over_all_anchors_consistency_is_what_agreement_means_it_to_be(space: SpaceOptions) -> None:
    found, said = consistency(THREE, shared(THREE), space), agreement(THREE, space)
    assert said.sampled == said.anchors
    assert found.mean == pytest.approx(said.cosine_others, abs=1e-4)
    assert found.chance < found.mean - 0.1
    assert list(found.deciles()) == sorted(found.deciles())
    assert found.deciles()[0] == pytest.approx(float(found.values.min()))


@SPACES
def test_over_a_sample_of_references_it_is_much_the_same(space: SpaceOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [random_member(seed, 600, 600, 32) for seed in (1, 2)]
    whole = consistency(members, shared(members), space)
    monkeypatch.setattr(module, "REFERENCES", 200)
    monkeypatch.setattr(module, "_BLOCK", 64)
    part = consistency(members, shared(members), space)
    assert part.mean == pytest.approx(whole.mean, abs=0.05)
    assert float(torch.corrcoef(torch.stack([part.values, whole.values]))[0, 1]) > 0.2


def test_identical_members_are_wholly_consistent_and_a_single_anchor_is_not_known() -> None:
    member = random_member(1, 80, 60, 16)
    assert consistency([member, member], shared([member, member]), CALIBRATED).mean == pytest.approx(1, abs=1e-5)
    assert consistency([member, member], shared([member, member])[:, :1], CALIBRATED).values.isnan().all()


def test_spread_points_are_far_apart() -> None:
    """Each point chosen is the farthest from those before it, and all others are nearer to them than they are apart."""
    points = F.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    chosen = spread_out(3.0 * points, 20, first=5).tolist()
    assert chosen[0] == 5
    assert len(set(chosen)) == 20
    gaps = []
    for rank, place in enumerate(chosen[1:], start=1):
        nearest = (points @ points[chosen[:rank]].T).amax(1)
        assert nearest[place] == pytest.approx(float(nearest.min()), abs=1e-6)
        gaps.append(float(nearest.min()))
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(gaps))
    apart = float((points[chosen] @ points[chosen].T).fill_diagonal_(-1).max())
    drawn = torch.randperm(200, generator=torch.Generator().manual_seed(1))[:20]
    assert apart < float((points[drawn] @ points[drawn].T).fill_diagonal_(-1).max())


def test_spread_takes_one_of_each_heap() -> None:
    made = torch.Generator().manual_seed(0)
    heaps = torch.randn(5, 300, generator=made)  # wide, so that distances are measured in fewer dimensions
    member = random_member(1, 100, 100, 300)
    member.embedding = heaps.repeat_interleave(20, 0) + 0.1 * torch.randn(100, 300, generator=made)
    ids = torch.arange(100).repeat(2, 1)
    chosen = chosen_anchors([member, member], ids, 0, choice("spread", 5), PAPER)
    assert sorted((chosen[0] // 20).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["consistent", "spread"])
def test_what_takes_a_while_is_kept_on_disk(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = columns_of(THREE, choice(name, 20))
    folder = tmp_path_factory.mktemp("kept")
    monkeypatch.setenv(store.VARIABLE, str(folder))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    assert columns_of(THREE, choice(name, 20)) == plain
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr("deepen_llm.fusion.relative.consistency._compared", None)  # nothing may be computed again
    monkeypatch.setattr("deepen_llm.fusion.relative.selection.spread_out", None)
    assert columns_of(THREE, choice(name, 20)) == plain


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"anchor_count": 100}, "expected anchor_choice random, consistent or spread with anchor_count=100"),
        ({"anchor_choice": "spread"}, "expected anchor_count with anchor_choice='spread'"),
        (
            {"anchor_choice": "spread", "anchor_count": 10, "anchor_seed": 3},
            "expected anchor_choice='random' with anchor_seed=3",
        ),
        ({"anchor_choice": "random", "anchor_count": 0}, "anchor_count"),
        ({"anchor_choice": "best", "anchor_count": 10}, "anchor_choice"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, object], said: str) -> None:
    for method in (Deepen, Bayes):
        with pytest.raises(ConfigError, match=said):
            method(**given)


def test_a_choice_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    fusion: FusionMethod = Bayes(anchor_choice="random", anchor_count=500, anchor_seed=3)
    file = tmp_path_factory.mktemp("config") / "ensemble.yaml"
    EnsembleConfig(members=["a", "b"], fusion=fusion).save(file)
    assert EnsembleConfig.load(file).fusion == fusion
