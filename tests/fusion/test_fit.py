"""Whether members fit together: sensible at both ends, and never worse for more of what is good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepen_llm.errors import ConfigError
from deepen_llm.fusion.fit import VERDICTS, fit

SHARES = st.floats(0, 1)


def rank(anchors: int, share: float, consistency: float, chance: float, scores: tuple[float, ...] | None = None) -> int:
    return VERDICTS.index(fit(anchors, share, consistency, chance, scores).verdict)


@given(anchors=st.integers(0, 10**5), share=SHARES, chance=st.floats(0, 0.95), two=st.tuples(SHARES, SHARES))
def test_more_consistency_never_worsens_it(anchors: int, share: float, chance: float, two: tuple[float, float]) -> None:
    assert rank(anchors, share, min(two), chance) <= rank(anchors, share, max(two), chance)


@given(
    few=st.integers(0, 10**5), more=st.integers(0, 10**5), less=SHARES, share=SHARES, consistency=SHARES, chance=SHARES
)
def test_more_anchors_never_worsen_it(
    few: int, more: int, less: float, share: float, consistency: float, chance: float
) -> None:
    assert (
        rank(few, min(less, share), consistency, chance) <= rank(few + more, max(less, share), consistency, chance)
        or not few
    )  # without an anchor, consistency is not looked at


@given(best=SHARES, gaps=st.tuples(SHARES, SHARES))
def test_a_wider_gap_never_betters_it(best: float, gaps: tuple[float, float]) -> None:
    near, far = (max(0.0, best - gap) for gap in sorted(gaps))
    assert rank(5000, 0.9, 0.6, 0.3, scores=(best, near)) >= rank(5000, 0.9, 0.6, 0.3, scores=(best, far))


def test_one_bad_measure_is_enough_and_its_reason_says_so() -> None:
    good = (5000, 0.9, 0.6, 0.3)
    assert fit(*good, (0.6, 0.58)).verdict == "fits well"
    for bad, said in (
        (fit(20, 0.9, 0.6, 0.3), "20 shared anchors"),
        (fit(5000, 0.01, 0.6, 0.3), "1% of the smallest vocabulary"),
        (fit(5000, 0.9, 0.3, 0.3), "consistency 0.30"),
        (fit(*good, (0.9, 0.4)), "scores from 0.40 to 0.90"),
        (fit(0, 0.0, 0.0, 0.0), "0 shared anchors"),
    ):
        assert bad.verdict == "does not fit"
        assert [said in one.text for one in bad.reasons if one.verdict == "does not fit"] == [True]


def test_what_is_not_known_is_said_and_does_not_count() -> None:
    unknown = fit(5000, 0.9, 0.6, 0.3)
    assert unknown.verdict == "fits well"
    assert any(one.verdict is None and "scores not known" in one.text for one in unknown.reasons)
    assert fit(1, 1.0, float("nan"), float("nan")).verdict == "does not fit"


@pytest.mark.parametrize("score", [61.0, -0.1, float("nan")])
def test_a_score_that_is_no_share_is_refused(score: float) -> None:
    with pytest.raises(ConfigError, match="a score of"):
        fit(5000, 0.9, 0.6, 0.3, (0.5, score))
