"""Conformance tests of a fusion method: laws of the fused distribution that hold for every method."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deepen_llm.fusion import METHODS, named_method
from deepen_llm.fusion.base import Fusible, FusionMethod
from deepen_llm.testing.fusible import SpellingMember, random_logits, random_member, vocabulary_of

_SCALES = (0.0, 3.0, 30.0)  # of logits: flat, peaked, certain
_ENDS = 2  # ids of each member that end a text


class FusionMethodTests:
    """Laws of one fusion method. Subclass it as ``TestMine``, and override the fixture ``method``.

    Attributes:
        atol: Largest difference between probabilities that are computed in two ways and must be equal.
    """

    atol: float = 2e-5

    @pytest.fixture
    def method(self) -> FusionMethod:
        """The method to test, with any options."""
        raise NotImplementedError("override the fixture `method`, which returns the fusion method to test")

    @pytest.fixture
    def members(self) -> Sequence[Fusible]:
        """Three members with different vocabularies, which share 80 tokens."""
        return [random_member(seed, 120, 80, 16, end_of_text=_ENDS) for seed in (1, 2, 3)]

    @pytest.mark.parametrize("scale", _SCALES)
    def test_one_member_keeps_its_logits(self, method: FusionMethod, members: Sequence[Fusible], scale: float) -> None:
        """To the bit (law 1)."""
        logits = _logits(members[:1], 3, scale)
        assert torch.equal(method.prepare(members[:1], 0).fuse(logits, torch.ones(3, 1)), logits[0])

    @pytest.mark.parametrize("main", range(3))
    def test_all_weight_on_the_main_model_keeps_its_logits(
        self, method: FusionMethod, members: Sequence[Fusible], main: int
    ) -> None:
        """To the bit (law 2), also in a batch where other members have weight at another position."""
        logits, fusion = _logits(members, 3), method.prepare(members, main)
        alone = torch.eye(3)[main].expand(3, -1)
        assert torch.equal(fusion.fuse(logits, alone), logits[main])
        mixed = torch.stack([alone[0], torch.full((3,), 1 / 3), alone[0]])
        assert torch.equal(fusion.fuse(logits, mixed)[[0, 2]], logits[main][[0, 2]])

    @pytest.mark.parametrize("scale", _SCALES)
    @pytest.mark.parametrize("main", range(3))
    def test_fused_logits_are_a_distribution_over_the_vocabulary(
        self, method: FusionMethod, members: Sequence[Fusible], main: int, scale: float
    ) -> None:
        """Finite or ``-inf``, never NaN, and some token is possible."""
        fusion = method.prepare(members, main)
        fused = fusion.fuse(_logits(members, 4, scale), _weights(4, 3))
        assert fused.shape == (4, fusion.vocabulary.size)
        _assert_distribution(fused)

    def test_parts_of_a_mixture_sum_to_it(self, method: FusionMethod, members: Sequence[Fusible]) -> None:
        """Of a method that ``mixes``: each part is a distribution, and their weighted sum is the fused one."""
        logits, weights, collected = _logits(members, 4), _weights(4, 3), list[Tensor]()
        fusion = method.prepare(members, 0)
        fused = fusion.fuse(logits, weights, None, collected)
        assert torch.equal(fused, fusion.fuse(logits, weights))
        assert bool(collected) == method.mixes
        if collected:
            parts = torch.cat(collected, 1)  # [N, B, V_m]
            assert bool((parts >= 0).all())
            self._assert_close(parts.sum(-1), torch.ones(3, 4))
            mixed, ends = (weights.T[:, :, None] * parts).sum(0), list(members[0].vocabulary.end_of_text)
            self._assert_close(_folded(mixed, ends), _folded(fused.softmax(-1), ends))

    def test_the_same_member_twice_chooses_the_same_tokens(
        self, method: FusionMethod, members: Sequence[Fusible]
    ) -> None:
        """Its likeliest tokens, as alone (law 2); a mixture has the member's distribution."""
        logits = _logits(members[:1], 6) * 2
        fused = method.prepare([members[0]] * 2, 0).fuse(logits, _weights(6, 2))
        assert torch.equal(fused.argmax(-1), logits[0].argmax(-1))
        if method.mixes:
            self._assert_close(fused.softmax(-1), logits[0].softmax(-1))

    def test_a_mixture_averages_members_of_one_vocabulary(self, method: FusionMethod) -> None:
        """Whatever their padding, and whichever ids end their texts."""
        if not method.mixes:
            pytest.skip("a law of mixtures only: `mixes` of this fusion method is False")
        main = random_member(1, 60, 40, 16, end_of_text=2)
        surfaces = list(main.vocabulary.surfaces)
        wider = SpellingMember("wider", vocabulary_of(surfaces, [61], padding=8), torch.randn(70, 16))
        logits = [random_logits(main, 2, 1), random_logits(wider, 2, 2)]
        logits[1][:, 62:] = -torch.inf
        fused = method.prepare([main, wider], 0).fuse(logits, torch.tensor([[0.3, 0.7]] * 2)).softmax(-1)
        expected = 0.3 * logits[0].softmax(-1) + 0.7 * logits[1].softmax(-1)[:, :62]
        self._assert_close(_folded(fused, [60, 61]), _folded(expected, [60, 61]))

    def test_positions_of_a_batch_are_fused_independently(
        self, method: FusionMethod, members: Sequence[Fusible]
    ) -> None:
        """Law 6."""
        logits, weights, fusion = _logits(members, 5), _weights(5, 3), method.prepare(members, 0)
        weights[1], weights[2] = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        whole = fusion.fuse(logits, weights).softmax(-1)
        alone = [fusion.fuse([of_member[i, None] for of_member in logits], weights[i, None]) for i in range(5)]
        self._assert_close(torch.cat(alone).softmax(-1), whole)

    def test_inputs_are_not_written_into(self, method: FusionMethod, members: Sequence[Fusible]) -> None:
        """Logits and weights keep their values, and the same step gives the same result again."""
        logits, weights, fusion = _logits(members, 3), _weights(3, 3), method.prepare(members, 0)
        before = [tensor.clone() for tensor in (*logits, weights)]
        fused = fusion.fuse(logits, weights)
        assert all(torch.equal(now, then) for now, then in zip((*logits, weights), before, strict=True))
        assert torch.equal(fusion.fuse(logits, weights), fused)

    @pytest.mark.parametrize("member", range(3))
    def test_impossible_tokens_leave_a_distribution(
        self, method: FusionMethod, members: Sequence[Fusible], member: int
    ) -> None:
        """One member's logits are ``-inf`` at every other token, at all but one, or at its ends of text."""
        fusion, size = method.prepare(members, 0), members[member].vocabulary.size
        for impossible in (list(range(0, size, 2)), list(range(1, size)), list(range(size - _ENDS, size))):
            logits = _logits(members, 2)
            logits[member][:, impossible] = -torch.inf
            _assert_distribution(fusion.fuse(logits, _weights(2, 3)))

    def test_the_end_of_text_is_one_token_whatever_its_ids(
        self, method: FusionMethod, members: Sequence[Fusible]
    ) -> None:
        """How a member divides the end of text among its ids has no effect; the main model's division is kept."""
        logits, fusion = _logits(members, 3), method.prepare(members, 0)
        fused = fusion.fuse(logits, _weights(3, 3))
        ends = [list(member.vocabulary.end_of_text) for member in members]
        for member in (1, 2):
            reversed_ = [of_member.clone() for of_member in logits]
            reversed_[member][:, ends[member]] = logits[member][:, ends[member][::-1]]
            self._assert_close(fusion.fuse(reversed_, _weights(3, 3)).softmax(-1), fused.softmax(-1))
        self._assert_close(fused[:, ends[0]].softmax(-1), logits[0][:, ends[0]].softmax(-1))

    def test_options_come_back_from_a_file(self, method: FusionMethod) -> None:
        """The options, read again, give an equal method; of a registered method, its name does."""
        kind = type(method)
        assert kind.model_validate_json(method.model_dump_json()) == method
        assert method.method
        if METHODS.get(method.method) is kind:
            assert named_method(method.model_dump(mode="json")) == method

    def _assert_close(self, actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, atol=self.atol, rtol=0)


def _logits(members: Sequence[Fusible], positions: int, scale: float = 3.0) -> list[Tensor]:
    return [random_logits(member, positions, 7 + i, scale) for i, member in enumerate(members)]


def _weights(positions: int, members: int) -> Tensor:
    """Weights that differ between positions and between members, ``[positions, members]``."""
    return torch.rand(positions, members, generator=torch.Generator().manual_seed(5)).add(0.1).log().softmax(-1)


def _folded(p: Tensor, ends: Sequence[int]) -> Tensor:
    """Distributions with the ends of text as one token, the last: ``[B, V]`` to ``[B, V - E + 1]``."""
    rest = [id_ for id_ in range(p.shape[1]) if id_ not in set(ends)]
    return torch.cat([p[:, rest], p[:, list(ends)].sum(-1, keepdim=True)], -1)


def _assert_distribution(fused: Tensor) -> None:
    assert not bool(fused.isnan().any())
    assert not bool(fused.isposinf().any())
    assert bool(fused.amax(-1).isfinite().all())
