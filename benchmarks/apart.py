"""Separate processes, for measurements that a process allows only once: peak memory, first start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import torch

_LIMIT = 300  # seconds


def run_apart(module: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ``python -m benchmarks.<module>``; return the JSON object that it prints last.

    Raises:
        RuntimeError: The process fails.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    variables = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        **(environment or {}),
    }
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, env=variables, timeout=_LIMIT, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{module} in a process of its own: {last[-1]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
