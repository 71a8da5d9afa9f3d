"""The laws of a fusion method, for every one that has a name, and for the options that change what it computes."""

import pytest
from pydantic import ByteSize

from deepen_llm.fusion import METHODS, Bayes, Deepen, FusionMethod, Surface, named_method
from deepen_llm.testing import FusionMethodTests

OPTIONS: list[FusionMethod] = [
    Bayes(anchors="joint", rounds=1),
    Bayes(memory_budget=ByteSize(0), max_rows=40),
    Deepen(anchors="pairwise"),
    Deepen(memory_budget=ByteSize(0), max_rows=40),
    Surface(abstain=False, rounds=1),
]


class TestRegistered(FusionMethodTests):
    @pytest.fixture(params=[*map(named_method, METHODS), *OPTIONS], ids=str)
    def method(self, request: pytest.FixtureRequest) -> FusionMethod:
        method: FusionMethod = request.param
        return method
