"""Conformance tests of aggregation weights: they sum to 1 at every position, and positions are independent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deepen_llm.fusion import AggregationWeights, Likelihood

_SIZES = (40, 70, 55)  # of the members' vocabularies
_POSITIONS = 5


class AggregationWeightsTests:
    """Laws of weights over three members. Subclass it as ``TestMine``, and override the fixture ``weights``.

    Attributes:
        atol: Largest difference between weights that are computed in two ways and must be equal.
    """

    atol: float = 1e-6

    @pytest.fixture
    def weights(self) -> AggregationWeights:
        """The weights to test, of three members."""
        raise NotImplementedError("override the fixture `weights`, which returns weights of three members")

    def test_weights_sum_to_one(self, weights: AggregationWeights) -> None:
        """At every position, none of them negative."""
        self._assert_weights(weights.per_token(_logits(), weights.per_prompt(_likelihoods(weights))), 3)

    def test_per_prompt_gives_a_state_for_each_prompt(self, weights: AggregationWeights) -> None:
        """``[prompts, members]``, on the CPU; unless the weights learn, it is weights that sum to 1."""
        state = weights.per_prompt(_likelihoods(weights))
        assert state.shape == (_POSITIONS, 3)
        assert state.device.type == "cpu"
        if not weights.learns:
            self._assert_weights(state, 3)

    def test_positions_do_not_depend_on_each_other(self, weights: AggregationWeights) -> None:
        """Prompts and positions one by one have the weights that they have together (law 6)."""
        likelihoods, logits = _likelihoods(weights), _logits()
        whole = weights.per_token(logits, weights.per_prompt(likelihoods))
        alone = [
            weights.per_token([of_member[i, None] for of_member in logits], weights.per_prompt([likelihoods[i]]))
            for i in range(_POSITIONS)
        ]
        torch.testing.assert_close(torch.cat(alone), whole, atol=self.atol, rtol=0)

    def test_weights_that_read_nothing_are_the_same_everywhere(self, weights: AggregationWeights) -> None:
        """Inputs that ``reads_prompts`` and ``reads_logits`` exclude change nothing."""
        likelihoods = _likelihoods(weights)
        state = weights.per_prompt(likelihoods)
        if not weights.reads_prompts:
            other = weights.per_prompt([[Likelihood(-9.0 * i, 3, 7) for i in range(3)] for _ in likelihoods])
            assert torch.equal(other, state)
        if not weights.reads_logits:
            other = weights.per_token([of_member.flip(-1) * 2 for of_member in _logits()], state)
            assert torch.equal(other, weights.per_token(_logits(), state))

    def test_impossible_tokens_leave_weights(self, weights: AggregationWeights) -> None:
        """One member's logits are ``-inf`` at padding, at all tokens but one, or at all tokens."""
        for impossible in (slice(30, None), slice(1, None), slice(None)):
            logits = _logits()
            logits[1][:, impossible] = -torch.inf
            self._assert_weights(weights.per_token(logits, weights.per_prompt(_likelihoods(weights))), 3)

    @pytest.mark.parametrize("members", [[0, 2], [1, 0], [2], [0, 1, 2]], ids=str)
    def test_a_subset_has_weights_of_its_members(self, weights: AggregationWeights, members: list[int]) -> None:
        """They sum to 1 over the subset; the subset of all members has the same weights as before."""
        if not any(weights.may_have_weight(member) for member in members):
            pytest.skip("these weights are fixed at 0 for all members of this subset, which no ensemble may have")
        subset = weights.subset(members)
        logits = [_logits()[member] for member in members]
        likelihoods = [[of_prompt[member] for member in members] for of_prompt in _likelihoods(weights)]
        of_subset = subset.per_token(logits, subset.per_prompt(likelihoods))
        self._assert_weights(of_subset, len(members))
        for index, member in enumerate(members):
            assert subset.may_have_weight(index) == weights.may_have_weight(member)
        if members == [0, 1, 2]:
            whole = weights.per_token(logits, weights.per_prompt(likelihoods))
            torch.testing.assert_close(of_subset, whole, atol=self.atol, rtol=0)

    def test_a_member_that_may_not_have_weight_has_none(self, weights: AggregationWeights) -> None:
        """Such a member is never read."""
        values = weights.per_token(_logits(), weights.per_prompt(_likelihoods(weights)))
        for member in range(3):
            assert weights.may_have_weight(member) or bool((values[:, member] == 0).all())

    @pytest.mark.parametrize("given", [True, False])
    def test_learned_state_gives_weights(self, weights: AggregationWeights, given: bool) -> None:
        """Weights that do not learn stay as they are; others favor the member that predicted a given text."""
        before = weights.per_prompt(_likelihoods(weights))
        parts = torch.tensor([0.9, 0.1, 0.1]).expand(_POSITIONS, -1)
        after = weights.learn(before, parts, torch.full((_POSITIONS,), 4), given=given)
        assert after.shape == before.shape
        self._assert_weights(weights.per_token(_logits(), after), 3)
        if not weights.learns:
            assert torch.equal(after, before)
        elif given:
            level = weights.per_prompt([[Likelihood()] * 3])
            credited = weights.learn(level, parts[:1], torch.full((1,), 4), given=True)
            after_credit, without_credit = (weights.per_token(_logits(1), state)[0, 0] for state in (credited, level))
            assert float(after_credit) > float(without_credit)

    def test_inputs_are_not_written_into(self, weights: AggregationWeights) -> None:
        """Logits and state keep their values."""
        logits, state = _logits(), weights.per_prompt(_likelihoods(weights))
        before = [tensor.clone() for tensor in (*logits, state)]
        weights.per_token(logits, state)
        weights.learn(state, torch.full((_POSITIONS, 3), 0.5), torch.full((_POSITIONS,), 2), given=True)
        assert all(torch.equal(now, then) for now, then in zip((*logits, state), before, strict=True))

    def _assert_weights(self, values: Tensor, members: int) -> None:
        assert values.shape[1] == members
        assert bool((values >= 0).all())
        torch.testing.assert_close(values.sum(-1).double(), torch.ones(len(values)).double(), atol=1e-5, rtol=0)


def _likelihoods(weights: AggregationWeights) -> Sequence[Sequence[Likelihood]]:
    """Likelihoods of five prompts, without content unless the weights read them; the last has no token that counts."""
    if not weights.reads_prompts:
        return [[Likelihood()] * 3] * _POSITIONS
    counted = [
        [Likelihood(-3.0 - prompt * i, 4 + i, 17 + prompt) for i in range(3)] for prompt in range(_POSITIONS - 1)
    ]
    return [*counted, [Likelihood()] * 3]


def _logits(positions: int = _POSITIONS) -> list[Tensor]:
    """Each member's logits, ``[positions, V_i]``."""
    generator = torch.Generator().manual_seed(3)
    return [3 * torch.randn(positions, size, generator=generator) for size in _SIZES]
