"""What a search may propose: weights that track go with mixtures only."""

from typing import Any

import optuna
import pytest

from deepen_llm import TrackWeights
from deepen_llm.config import EnsembleSettings
from deepen_llm.errors import ConfigError
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


@pytest.mark.parametrize(("method", "name"), [("deepen", "weights_of_deepen"), ("surface", "weights")])
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


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"methods": ["deepen"], "weights": ["track"]}, "not for deepen"),
    ({"gamma": (0.1, 1.5)}, "less than or equal to 1"),
    ({"horizon": (0, 100)}, "above 0"),
    ({"gates": []}, "at least 1 item"),
    ({"gates": ["saef"]}, "'boundary' or 'safe'\nHint"),
]


@pytest.mark.parametrize(("given", "told"), MISTAKES, ids=str)
def test_a_space_that_cannot_be_searched_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SearchSpace(**given)
