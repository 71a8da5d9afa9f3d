"""What each member says in a mixture: the parts that weights learn from."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deepen_llm.fusion import Bayes, FusionMethod, Surface
from deepen_llm.fusion.base import Fusion
from deepen_llm.fusion.past import Past
from tests.fusion.test_surface import PLACES, case, fusion_of, member

METHODS: list[FusionMethod] = [Surface(), Surface(abstain=False, rounds=1), Bayes(), Bayes(rounds=1, anchors="joint")]
IDS = ["surface", "plain surface", "bayes", "joint bayes"]
EVERYONE = [
    ("byte_level_bpe",),
    ("byte_level_bpe", "byte_level_bpe"),
    ("wordpiece", "byte_level_bpe", "sentencepiece_bpe"),
]


def asked(kinds: tuple[str, ...], method: FusionMethod) -> tuple[Fusion, list[Tensor], Tensor, Past | None]:
    """A fusion of these members, and what is to be fused: logits, weights, and what came before."""
    shares = torch.arange(1.0, len(kinds) + 1).expand(len(PLACES), -1)
    weights = shares / shares.sum(-1, keepdim=True)
    if isinstance(method, Surface):
        logits, past = case(kinds, method, scale=3.0)
        trails = [told if kind != kinds[0] else () for kind, told in zip(kinds, past.trails, strict=True)]
        past = Past(trails, past.unfinished)
        return fusion_of(kinds, method), logits, weights, past
    made = torch.Generator().manual_seed(7)
    logits = [3 * torch.randn(len(PLACES), member(kind).vocabulary.size, generator=made) for kind in kinds]
    return method.prepare([member(kind) for kind in kinds], 0), logits, weights, None


def parts_of(fusion: Fusion, logits: Sequence[Tensor], weights: Tensor, past: Past | None) -> tuple[Tensor, Tensor]:
    found = list[Tensor]()
    fused = fusion.fuse(logits, weights, past, found)
    return fused, torch.cat(found, 1)


@pytest.mark.parametrize("kinds", EVERYONE, ids=len)
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_the_mixture_is_its_parts_by_weight_and_each_is_a_distribution(
    method: FusionMethod, kinds: tuple[str, ...]
) -> None:
    fusion, logits, weights, past = asked(kinds, method)
    fused, parts = parts_of(fusion, logits, weights, past)
    assert method.mixes
    assert parts.shape == (len(kinds), len(PLACES), logits[0].shape[1])
    assert bool((parts >= 0).all())
    torch.testing.assert_close(parts.sum(-1), torch.ones(parts.shape[:2]), atol=2e-5, rtol=0)
    mixed = (weights.T[:, :, None] * parts).sum(0)
    torch.testing.assert_close(mixed, (fused - logits[0].logsumexp(-1, keepdim=True)).exp(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(parts[0], logits[0].softmax(-1))


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_who_asks_for_parts_gets_the_same_mixture(method: FusionMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    fusion, logits, weights, past = asked(EVERYONE[2], method)
    fused, parts = parts_of(fusion, logits, weights, past)
    assert torch.equal(fused, fusion.fuse(logits, weights, past))
    monkeypatch.setattr(fusion, "_portion", 3)
    torch.testing.assert_close(parts_of(fusion, logits, weights, past)[1], parts)


def test_what_a_member_abstains_from_is_the_ensembles_own() -> None:
    fusion, logits, weights, past = asked(EVERYONE[2], Surface())
    fused, parts = parts_of(fusion, logits, weights, past)
    assert past is not None
    silent = torch.tensor([[one.abstained for one in past.evidence[i]] for i in (1, 2)])  # [2, P]
    assert float(silent.max()) > 0.01
    assert bool((parts[1:] >= silent[:, :, None] * fused.softmax(-1) * (1 - 1e-4) - 1e-7).all())
