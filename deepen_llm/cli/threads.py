"""Number of threads of a command's models: one for small models.

torch sets the number of threads per thread of the process, not per model. So the library does not change it, but a
command, which has its own process, may.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepen_llm.members.base import Member

SMALL = 20_000_000
"""Bytes of weights up to which synchronizing a second thread takes longer than a step."""

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_small_on_one_thread(members: Iterable[Member]) -> None:
    """Run members on one thread if all are small and on the CPU, unless the environment sets a number of threads.

    Two threads synchronize at every step: with a busy second core, the bundled specialists took ten times as long.

    Args:
        members: All models that run, including the draft model.
    """
    if all(member.weight_bytes <= SMALL and member.device.type == "cpu" for member in members):
        run_on_one_thread()


def run_on_one_thread() -> None:
    """Run models on one thread, unless the environment sets a number of threads."""
    import torch

    if not any(name in os.environ for name in _CHOSEN_BY):
        torch.set_num_threads(1)
