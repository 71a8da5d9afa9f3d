"""Sweeps try a few values only: each costs the fused step on every example."""

import pytest

from deepen_llm.tuning import sweeps

FEW = {name: values[1::4] for name, values in sweeps._VALUES.items()}


@pytest.fixture(autouse=True, scope="session")
def few_values() -> None:
    sweeps._VALUES.update(FEW)
