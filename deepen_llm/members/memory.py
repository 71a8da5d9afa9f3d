"""How much memory a device has left, and in which sizes keys and values take it."""

from __future__ import annotations

from pathlib import Path

import torch

_FEWEST_SLOTS = 256


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where the system does not report them.

    On a GPU, memory that torch has reserved and no tensor uses counts as free: torch gives it to new tensors.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * count for count in kilobytes), None)


def buffer_size(rows: int, slots: int) -> tuple[int, int]:
    """The rows and slots of the buffers that hold so many texts of so many tokens: powers of two, 256 slots at least.

    Few sizes mean that buffers, and what is captured over them, fit later texts, too.
    """
    return _power_of_two(rows), _power_of_two(max(slots, _FEWEST_SLOTS))


def _power_of_two(count: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(0, count - 1).bit_length()
