"""Sweeps try a few values only: each costs the fused step on every example."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from deepen_llm.fusion.tunable import Sweep
from deepen_llm.tuning import sweeps


@pytest.fixture(autouse=True, scope="module")
def few_values() -> Iterator[None]:
    whole = sweeps.sweep_of

    def few(name: str, fusion: Mapping[str, Any]) -> Sweep | None:
        how = whole(name, fusion)
        return how and replace(how, values=how.values[1::4])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "sweep_of", few)
        yield
