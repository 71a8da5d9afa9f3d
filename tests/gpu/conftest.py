"""What tests on a GPU share. Found by itself where `pytest.ini` beside it leads, without the outer one."""

import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("DEEPEN_CACHE", tempfile.mkdtemp(prefix="deepen-tests-"))  # never the user's

import pytest
import torch

from tests.gpu.ensembles import ACCELERATOR

if ACCELERATOR == "cpu":
    torch.set_num_threads(1)  # the models are so small that threads would wait for each other


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU, one case of each test: it keeps the code alive, and the laws of a CPU are those of `tests`."""
    if ACCELERATOR != "cpu":
        return
    seen: set[str] = set()
    left_out: list[pytest.Item] = []
    for item in items:
        if Path(__file__).parent in item.path.parents:
            name = item.nodeid.partition("[")[0]
            if name in seen:
                left_out.append(item)
            seen.add(name)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def device() -> str:
    """The GPU where there is one, else the CPU."""
    return ACCELERATOR
