"""The laws of aggregation weights: they sum to 1 at every place, whoever is beside it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from deepen_llm.fusion import AggregationWeights, Likelihood

_SIZES = (40, 70, 55)  # of the members' vocabularies
_ROWS = 5


class AggregationWeightsTests:
    """Laws of weights over three members. Subclass it as ``TestMine``, and give the fixture ``weights``.

    Attributes:
        atol: How much a weight may differ where the same is computed in another way.
    """

    atol: float = 1e-6

    @pytest.fixture
    def weights(self) -> AggregationWeights:
        """The weights to test, of three members."""
        raise NotImplementedError("override the fixture `weights`, which returns weights of three members")

    def test_weights_sum_to_one(self, weights: AggregationWeights) -> None:
        """At every place, none of them negative."""
        found = weights.weigh(_logits(), weights.standing(_likelihoods(weights)))
        self._assert_weights(found, 3)

    def test_what_holds_for_a_prompt_is_a_row_for_each(self, weights: AggregationWeights) -> None:
        """On the CPU; unless the weights learn, they are weights already."""
        standing = weights.standing(_likelihoods(weights))
        assert standing.shape == (_ROWS, 3)
        assert standing.device.type == "cpu"
        if not weights.learns:
            self._assert_weights(standing, 3)

    def test_places_do_not_depend_on_each_other(self, weights: AggregationWeights) -> None:
        """Prompts and places one by one have the weights that they have together."""
        told, logits = _likelihoods(weights), _logits()
        whole = weights.weigh(logits, weights.standing(told))
        rows = [
            weights.weigh([one[row, None] for one in logits], weights.standing([told[row]])) for row in range(_ROWS)
        ]
        torch.testing.assert_close(torch.cat(rows), whole, atol=self.atol, rtol=0)

    def test_weights_that_look_at_nothing_are_the_same_everywhere(self, weights: AggregationWeights) -> None:
        """What ``reads_prompts`` and ``reads_logits`` deny is not looked at."""
        told, standing = _likelihoods(weights), weights.standing(_likelihoods(weights))
        if not weights.reads_prompts:
            other = weights.standing([[Likelihood(-9.0 * i, 3, 7) for i in range(3)] for _ in told])
            assert torch.equal(other, standing)
        if not weights.reads_logits:
            other = weights.weigh([one.flip(-1) * 2 for one in _logits()], standing)
            assert torch.equal(other, weights.weigh(_logits(), standing))

    def test_tokens_that_are_ruled_out_do_no_harm(self, weights: AggregationWeights) -> None:
        """Padding, all tokens but one, and all tokens of a member that abstains."""
        for out in (slice(30, None), slice(1, None), slice(None)):
            logits = _logits()
            logits[1][:, out] = -torch.inf
            self._assert_weights(weights.weigh(logits, weights.standing(_likelihoods(weights))), 3)

    @pytest.mark.parametrize("members", [[0, 2], [1, 0], [2], [0, 1, 2]], ids=str)
    def test_weights_among_some_members(self, weights: AggregationWeights, members: list[int]) -> None:
        """They are weights of these alone, and those among all are the same."""
        if not any(weights.takes_part(member) for member in members):
            pytest.skip("none of them may have weight")
        some = weights.among(members)
        logits = [_logits()[member] for member in members]
        told = [[row[member] for member in members] for row in _likelihoods(weights)]
        found = some.weigh(logits, some.standing(told))
        self._assert_weights(found, len(members))
        for place, member in enumerate(members):
            assert some.takes_part(place) == weights.takes_part(member)
        if members == [0, 1, 2]:
            torch.testing.assert_close(found, weights.weigh(logits, weights.standing(told)), atol=self.atol, rtol=0)

    def test_who_takes_no_part_has_no_weight(self, weights: AggregationWeights) -> None:
        """It is never read, so that no weight could count."""
        found = weights.weigh(_logits(), weights.standing(_likelihoods(weights)))
        for member in range(3):
            assert weights.takes_part(member) or bool((found[:, member] == 0).all())

    @pytest.mark.parametrize("given", [True, False])
    def test_what_was_learned_gives_weights(self, weights: AggregationWeights, given: bool) -> None:
        """Behind a token; weights that do not learn stay, others favor who foresaw a text that is given."""
        before = weights.standing(_likelihoods(weights))
        parts = torch.tensor([0.9, 0.1, 0.1]).expand(_ROWS, -1)
        after = weights.learn(before, parts, torch.full((_ROWS,), 4), given=given)
        assert after.shape == before.shape
        self._assert_weights(weights.weigh(_logits(), after), 3)
        if not weights.learns:
            assert torch.equal(after, before)
        elif given:
            level = weights.standing([[Likelihood()] * 3])
            credited = weights.learn(level, parts[:1], torch.full((1,), 4), given=True)
            assert float(weights.weigh(_logits(1), credited)[0, 0]) > float(weights.weigh(_logits(1), level)[0, 0])

    def test_what_is_given_stays_as_it_was(self, weights: AggregationWeights) -> None:
        """Logits and what holds are not written into."""
        logits, standing = _logits(), weights.standing(_likelihoods(weights))
        before = [one.clone() for one in (*logits, standing)]
        weights.weigh(logits, standing)
        weights.learn(standing, torch.full((_ROWS, 3), 0.5), torch.full((_ROWS,), 2), given=True)
        assert all(torch.equal(one, other) for one, other in zip((*logits, standing), before, strict=True))

    def _assert_weights(self, found: Tensor, members: int) -> None:
        assert found.shape[1] == members
        assert bool((found >= 0).all())
        torch.testing.assert_close(found.sum(-1).double(), torch.ones(len(found)).double(), atol=1e-5, rtol=0)


def _likelihoods(weights: AggregationWeights) -> Sequence[Sequence[Likelihood]]:
    """Of five prompts, as weights of this kind get them; the last of them is of one token, with nothing to count."""
    if not weights.reads_prompts:
        return [[Likelihood()] * 3] * _ROWS
    told = [[Likelihood(-3.0 - row * i, 4 + i, 17 + row) for i in range(3)] for row in range(_ROWS - 1)]
    return [*told, [Likelihood()] * 3]


def _logits(rows: int = _ROWS) -> list[Tensor]:
    """Each member's logits, ``[rows, V_i]``."""
    made = torch.Generator().manual_seed(3)
    return [3 * torch.randn(rows, size, generator=made) for size in _SIZES]
