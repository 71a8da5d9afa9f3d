"""The laws of aggregation weights, for every one that has a name, and for fixed ones."""

import pytest

from deepen_llm.fusion import (
    DYNAMIC,
    AggregationWeights,
    EntropyWeights,
    FixedWeights,
    PromptWeights,
    TrackWeights,
    named_weights,
)
from deepen_llm.testing import AggregationWeightsTests

OPTIONS: dict[str, AggregationWeights] = {
    "equal": AggregationWeights(),
    "fixed": FixedWeights([1, 2, 5]),
    "fixed without one": FixedWeights([0.5, 0, 0.5]),
    "entropy with a base": EntropyWeights(tau=0.4, base=(1, 0, 3)),
    "prompt by bytes": PromptWeights(per="byte", tau=0.2),
    "track all": TrackWeights(gamma=0.5, horizon=20, credit="all"),
    "track without a share": TrackWeights(share=0),
    **{name: named_weights(name) for name in DYNAMIC},
}


class TestRegistered(AggregationWeightsTests):
    @pytest.fixture(params=OPTIONS)
    def weights(self, request: pytest.FixtureRequest) -> AggregationWeights:
        return OPTIONS[request.param]
