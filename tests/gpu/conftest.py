"""What tests on a GPU share. Found by itself where `pytest.ini` beside it leads, without the outer one."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("DEEPEN_CACHE", tempfile.mkdtemp(prefix="deepen-tests-"))  # never the user's

import pytest
import torch

from tests.gpu.ensembles import ACCELERATOR

if ACCELERATOR == "cpu":
    torch.set_num_threads(1)  # the models are so small that threads would wait for each other


@pytest.fixture
def device() -> str:
    """The GPU where there is one, else the CPU."""
    return ACCELERATOR
