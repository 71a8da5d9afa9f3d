"""Two of the largest vocabularies decode in little memory: about 100,000 anchors, 80 GB as dense matrices."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("fusion", ["deepen", "bayes"])
def test_the_largest_vocabularies_decode_within_4_gb_beside_the_weights(fusion: str) -> None:
    command = [sys.executable, "-m", "tests.large_vocabularies", fusion]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)  # noqa: S603
    assert int(run.stdout) < 4e9
