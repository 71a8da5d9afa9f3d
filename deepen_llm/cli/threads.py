"""On how many threads a command's models run: small ones on one.

torch has one number of threads for each thread of a process and one that new threads begin with, and no way to set it
for some models only. So a library must leave it alone, and a command, whose process is its own, chooses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepen_llm.members.base import Member

SMALL = 20_000_000
"""Bytes of weights up to which a step takes less time than a second thread takes to be waited for."""

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_small_on_one_thread(members: Iterable[Member]) -> None:
    """Where all members are small and on the CPU, run them on one thread, unless the environment says otherwise.

    With two, each waits at every step for the other: on a machine whose second core was busy, the bundled specialists
    took ten times as long.

    Args:
        members: All models that will run, the one that drafts among them.
    """
    if all(member.weight_bytes <= SMALL and member.device.type == "cpu" for member in members):
        run_on_one_thread()


def run_on_one_thread() -> None:
    """Run models on one thread, unless the environment says otherwise."""
    import torch

    if not any(name in os.environ for name in _CHOSEN_BY):
        torch.set_num_threads(1)
