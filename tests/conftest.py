"""Every test runs offline, and on one thread: the models are so small that threads would wait for each other.

Hypothesis tries the same examples in every run; ``pytest --hypothesis-profile default`` draws new ones.
"""

import atexit
import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # for subprocesses
os.environ["DEEPEN_CACHE"] = tempfile.mkdtemp(prefix="deepen-tests-")  # never the user's, in no fixture or subprocess

import torch
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
atexit.register(shutil.rmtree, os.environ["DEEPEN_CACHE"], ignore_errors=True)
torch.set_num_threads(1)
