"""What one of several processes at once does; apart from the tests, since each process imports it."""

import torch

from deepen_llm.storage import store

SIZE, TURNS = 50_000, 25


def write_and_read(seed: int) -> int:
    """Write an entry whose numbers are all one, again and again; count what is read that is no such entry."""
    torch.set_num_threads(1)
    wrong = 0
    for turn in range(TURNS):
        store.write("thing", "key", {"rows": torch.full((SIZE,), float(TURNS * seed + turn))})
        found = store.read("thing", "key")
        wrong += found is None or found["rows"].shape != (SIZE,) or bool((found["rows"] != found["rows"][0]).any())
    return wrong
