"""What a search may propose: weights that track go with mixtures only."""

from collections.abc import Sequence
from typing import Any

import optuna
import pytest

from deepen_llm import TrackWeights
from deepen_llm.config import EnsembleSettings
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import DEFAULT, METHODS, STARTING_METHODS, named_method
from deepen_llm.fusion.relative.method import RelativeMethod
from deepen_llm.fusion.tunable import Choice, Tunable
from deepen_llm.tuning import sweeps
from deepen_llm.tuning.space import Candidate, SearchSpace


def test_weights_that_track_are_proposed_with_mixtures_only() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = SearchSpace(weights=["avg", "prompt", "track"], gamma=(0.1, 0.5), horizon=(50, 200))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = [space.propose(study.ask(), (0, 1), (0.5, 0.5)) for _ in range(90)]
    assert {one.fusion["method"] for one in proposed} == {"deepen", "bayes", "surface"}
    weighed = [(one.fusion["method"], EnsembleSettings(**one.settings).weights) for one in proposed]
    tracking = [(method, weights) for method, weights in weighed if isinstance(weights, TrackWeights)]
    assert {method for method, _ in tracking} == {"bayes", "surface"}
    assert all(0.1 <= weights.gamma <= 0.5 and 50 <= weights.horizon <= 200 for _, weights in tracking)
    assert any(method == "deepen" and weights is not None for method, weights in weighed)


@pytest.mark.parametrize(("method", "name"), [("deepen", "weights_of_no_mixture"), ("surface", "weights")])
def test_a_start_is_proposed_by_the_names_that_the_search_uses(method: str, name: str) -> None:
    start = Candidate((0, 1), 1, {"method": method})
    held = SearchSpace().proposal(start)
    assert held[name] == "avg"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(held)
    trial = study.ask()
    found = SearchSpace().propose(trial, (0, 1), (0.5, 0.5))
    assert (found.main, found.weights, found.gate) == (1, None, "always")
    assert found.fusion["method"] == method


def proposed(space: SearchSpace, count: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dict(space.propose(study.ask(), (0, 1), (0.5, 0.5)).fusion) for _ in range(count)]


def test_what_is_searched_unless_a_space_names_more() -> None:
    keys = {method: set[str]() for method in STARTING_METHODS}
    for fusion in proposed(SearchSpace(), 150):
        keys[fusion["method"]] |= fusion.keys()
    relative = {"center", "normalize_rows", "temperature", "self_mass", "anchors", "anchor_choice", "anchor_count"}
    assert keys["deepen"] == {"method", "relr", "search_steps", *relative}
    assert keys["bayes"] == {"method", "rounds", *relative}
    assert keys["surface"] == {"method", "rounds"}


@pytest.mark.parametrize("method", METHODS)
def test_every_proposal_of_a_registered_method_can_be_used(method: str) -> None:
    named = {one.name: _everything(one) for one in METHODS[method].tunables}
    space = SearchSpace(methods=[method], weights=["avg"], options=named)
    found = proposed(space)
    assert all(one["method"] == method and named_method(one) for one in found)
    assert {name for one in found for name in one} >= {one.name for one in METHODS[method].tunables} - {"space"}


def _everything(one: Tunable) -> Sequence[Any]:
    return list(one.choices) if isinstance(one, Choice) else one.distribution[:2]


def test_options_of_a_method_are_narrowed_and_those_that_are_named_are_searched() -> None:
    space = SearchSpace(methods=["surface"], rounds=(2, 3), straddle=(0, 2), abstain=[False])
    found = proposed(space)
    assert {one["rounds"] for one in found} == {2, 3}
    assert {one["straddle"] for one in found} == {0, 1, 2}
    assert {one["abstain"] for one in found} == {False}
    assert space == SearchSpace(
        methods=["surface"], options={"rounds": (2, 3), "straddle": (0, 2), "abstain": (False,)}
    )


def test_a_method_without_starts_is_tried_as_it_stands_where_it_is_named() -> None:
    assert "exact" not in SearchSpace().methods
    assert [one.fusion for one in SearchSpace(methods=["exact"]).start((0, 1))] == [{"method": "exact"}] * 2


def test_the_default_method_is_tried_first() -> None:
    first = next(SearchSpace().start((0, 1)))
    assert first.fusion == {"method": DEFAULT.method}


@pytest.mark.parametrize(
    ("fusion", "options"),
    [
        ({"method": "deepen"}, {"relr", "search_steps", "anchor_count"}),
        ({"method": "bayes"}, {"rounds", "self_mass", "anchor_count"}),
        ({"method": "bayes", **RelativeMethod.tunables[0].choices["paper"]}, {"rounds", "anchor_count"}),  # type: ignore[attr-defined]
        ({"method": "surface"}, {"rounds"}),
        ({"method": "exact"}, set()),
    ],
)
def test_what_is_swept_around_a_method(fusion: dict[str, Any], options: set[str]) -> None:
    assert {name for name in sweeps.swept() if sweeps.sweep_of(name, fusion)} == options


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"methods": ["deepen"], "weights": ["track"]}, "not for deepen"),
    ({"methods": ["exact", "surface"], "weights": ["track"]}, "not for exact"),
    ({"methods": ["surfaces"]}, "unknown fusion method 'surfaces', did you mean 'surface'"),
    ({"relr": (0.3, 0.1)}, "relr.*bounds are two numbers above 0, the lower one first"),
    ({"rounds": (1.5, 2)}, "rounds.*whole numbers"),
    ({"anchors": ["joined"]}, "anchors.*expected some of joint, pairwise"),
    ({"options": {"round": (1, 2)}}, "did you mean 'rounds'"),
    ({"gamma": (0.1, 1.5)}, "less than or equal to 1"),
    ({"horizon": (0, 100)}, "above 0"),
    ({"gates": []}, "at least 1 item"),
    ({"gates": ["saef"]}, "'boundary' or 'safe'\nHint"),
]


@pytest.mark.parametrize(("given", "told"), MISTAKES, ids=str)
def test_a_space_that_cannot_be_searched_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SearchSpace(**given)
