"""Intervals hold what they promise."""

import random

from deepen_llm.tuning.intervals import examples_needed, gain_interval, score_interval, sign_test, standard_error


def test_score_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = random.Random(0)  # noqa: S311
    for truth in (0.05, 0.5, 0.97):
        drawn = [[float(rng.random() < truth) for _ in range(60)] for _ in range(800)]
        held = sum(one.low <= truth <= one.high for one in map(score_interval, drawn))
        assert 0.92 < held / len(drawn) < 0.99


def test_a_perfect_score_is_not_certain() -> None:
    interval = score_interval([1.0] * 60)
    assert interval.value == interval.high == 1.0
    assert 0.9 < interval.low < 0.95


def test_a_gain_is_paired() -> None:
    theirs = [float(i % 2) for i in range(100)]
    ours = [min(1.0, one + (i % 10 == 0)) for i, one in enumerate(theirs)]
    gain = gain_interval(ours, theirs)
    assert gain.low > 0
    assert gain.low < gain.value < gain.high
    assert gain_interval(ours, theirs) == gain
    assert gain_interval(theirs, theirs).high == 0.0
    assert standard_error(theirs, theirs) == 0.0


def test_few_wins_are_not_certain() -> None:
    assert sign_test([1.0] * 4, [0.0] * 4) == 0.125
    assert sign_test([1.0] * 8, [0.0] * 8) < 0.01
    assert sign_test([1.0, 0.0, 1.0], [0.0, 1.0, 1.0]) == 1.0


def test_fewer_examples_tell_a_larger_gain() -> None:
    theirs = [0.0] * 100
    small, large = ([float(i % every == 0) for i in range(100)] for every in (20, 3))
    few, many = examples_needed(large, theirs), examples_needed(small, theirs)
    assert few is not None
    assert many is not None
    assert few < many
    assert examples_needed(theirs, theirs) is None
