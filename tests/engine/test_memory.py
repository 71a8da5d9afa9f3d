"""Two of the largest vocabularies decode in little memory: about 100,000 anchors, 80 GB as dense matrices."""

import subprocess
import sys
from pathlib import Path


def test_the_largest_vocabularies_decode_within_4_gb_beside_the_weights() -> None:
    methods = ("deepen", "bayes", "surface")
    command = [sys.executable, "-m", "tests.large_vocabularies", *methods]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)  # noqa: S603
    peaks = dict(zip(methods, map(int, run.stdout.split()), strict=True))
    assert max(peaks.values()) < 4e9, peaks
