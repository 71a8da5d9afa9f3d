"""Verdicts from answers that are known: sensible at the ends, and by the interval between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepen_llm.tuning.answered import MemberAnswers
from deepen_llm.tuning.overlap import LEAST_GAIN, Overlap, surest


def said(right: str, logprob: float = -0.5, wrong: float = -1.0) -> MemberAnswers:
    """A member whose right and wrong answers ("+" and "-") are that likely."""
    return MemberAnswers(tuple(one == "+" for one in right), tuple(logprob if one == "+" else wrong for one in right))


HALVES = said("+" * 50 + "-" * 50), said("-" * 50 + "+" * 50)


def test_members_that_know_the_two_halves_are_worth_trying_where_they_know_it() -> None:
    found = Overlap.of(HALVES)
    assert (found.best, found.verdict) == (0, "worth trying")
    assert found.gain.value == 0.5
    assert found.recovered
    assert found.recovered.value == 1
    assert found.explain(["A", "B"]).startswith("worth trying: of what A gets wrong, B answers 100 % right (93 to 100)")


def test_a_member_that_is_surer_of_its_errors_takes_away_what_it_adds() -> None:
    blind = said("-" * 60 + "+" * 40, logprob=-0.7, wrong=-0.1)
    found = Overlap.of([said("+" * 60 + "-" * 40, wrong=-0.2), blind])
    assert found.verdict == "use one alone"
    assert found.gain.high < 0
    assert found.explain(["A", "B"]).startswith("use A alone: of what A gets wrong, B answers 100 % right")


def test_few_examples_leave_it_undecided_and_tell_how_many_would_not() -> None:
    found = Overlap.of([said("+" * 20 + "-" * 10), said("-" * 20 + "-" * 9 + "+", wrong=-3.0)])
    assert found.verdict == "undecided"
    assert found.needed
    assert found.needed > 30
    assert f"about {found.needed:,} examples would tell" in found.explain(["A", "B"])


def test_the_best_one_of_equals_is_the_first_and_a_perfect_one_needs_nobody() -> None:
    assert Overlap.of([said("+-"), said("-+")]).best == 0
    assert Overlap.of([said("--"), said("-+")]).best == 1
    perfect = Overlap.of([said("-" * 40), said("+" * 40)])
    assert (perfect.recovered, perfect.verdict) == (None, "use one alone")
    assert perfect.explain(["A", "B"]) == "use B alone: B gets nothing wrong"


def test_the_surest_is_asked_for_each_example() -> None:
    one, other = (
        MemberAnswers((True, False, True), (-1.0, -2.0, -3.0)),
        MemberAnswers((False, True, False), (-2.0, -1.0, -3.0)),
    )
    assert surest([one, other]) == [1.0, 1.0, 1.0]
    assert surest([other, one]) == [1.0, 1.0, 0.0]  # of equals the first


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(-5, 0), st.floats(-5, 0)), min_size=2, max_size=30))
def test_a_gain_is_bounded_by_what_is_recovered_and_what_the_best_one_knows(
    rows: list[tuple[bool, bool, float, float]],
) -> None:
    first, second, *logprobs = zip(*rows, strict=True)
    found = Overlap.of([MemberAnswers(first, logprobs[0]), MemberAnswers(second, logprobs[1])])
    best = found.right[found.best].value
    recovered = found.recovered.value if found.recovered else 0.0
    assert -best - 1e-9 <= found.gain.value <= recovered * (1 - best) + 1e-9
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert (found.verdict == "worth trying") == (found.gain.low > 0)
    assert (found.verdict == "use one alone") == (found.gain.low <= 0 and found.gain.high < LEAST_GAIN)


def test_sureness_is_a_mean_probability() -> None:
    one = MemberAnswers((True, True, False), (0.0, -0.6931471805599453, 0.0))
    assert one.sureness(right=True) == pytest.approx(0.75)
    assert one.sureness(right=False) == 1
    assert one.share == pytest.approx(2 / 3)
    assert MemberAnswers((True,), (0.0,)).sureness(right=False) is None
