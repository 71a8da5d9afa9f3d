"""Which requests are decoded now, and which wait until there is room."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import torch

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.sequence import Request, Row
from deepen_llm.members.base import Member
from deepen_llm.members.memory import free_memory

_SLACK = 2  # buffers grow ahead, and some slots are dead
_LOGIT = 4  # bytes
_USABLE = 0.8  # of the free memory: the rest is for logits, the fused step and what the allocator cannot use


class Admission:
    """A queue of requests; the first of it come in as rows leave and memory allows.

    Args:
        ensemble: The ensemble.
        requests: All requests.
        options: How to generate.
        batch_size: The most rows at a time; one request's rows come in together, whatever their number.
    """

    def __init__(
        self, ensemble: Ensemble, requests: Sequence[Request], options: GenerationOptions, batch_size: int
    ) -> None:
        self._ensemble, self._options, self._batch_size = ensemble, options, batch_size
        self._waiting, self._inside = deque(requests), list[Request]()
        self._memory = Memory(ensemble)

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def admit(self, live: Sequence[Row]) -> list[Request]:
        """The requests that come in now, beside the rows that are live."""
        going_on = set(map(id, live))
        self._inside = [one for one in self._inside if any(id(row) in going_on for row in one.rows)]
        admitted: list[Request] = []
        rows = len(live)
        while self._waiting and (rows == 0 or self._fits(self._waiting[0], rows)):
            admitted.append(self._waiting.popleft())
            self._inside.append(admitted[-1])
            rows += len(admitted[-1].rows)
        return admitted

    def _fits(self, request: Request, rows: int) -> bool:
        if rows + len(request.rows) > self._batch_size:
            return False
        inside, more = [*self._inside, request], self._options.max_new_tokens
        members = range(len(self._ensemble.members))
        lengths = [max(len(one.prompt[place].ids) for one in inside) + more for place in members]
        return self._memory.holds(rows + len(request.rows), lengths)


class Memory:
    """What the members' caches, and the logits that fusion looks back at, may take on each device.

    Args:
        ensemble: The ensemble.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        devices = {member.device for member in ensemble.members if member.bytes_per_token}
        self._budget = {device: bytes_ for device in devices if (bytes_ := free_memory(device)) is not None}

    def holds(self, rows: int, lengths: Sequence[int]) -> bool:
        """Whether so many rows fit: in a cache, every row has the longest one's slots.

        Args:
            rows: The number of rows.
            lengths: For each member, the tokens of its longest row in the end.
        """
        needed, drafting = Counter[torch.device](), self._ensemble.draft_model
        members = [*zip(self._ensemble.members, lengths, strict=True)]
        members += [(drafting, lengths[self._ensemble.main])] if drafting else []
        for member, length in members:
            slots = min(length, member.context_length or length)
            needed[member.device] += rows * (_SLACK * slots * member.bytes_per_token + self._kept(member))
        return all(needed[device] <= _USABLE * free for device, free in self._budget.items())

    def _kept(self, member: Member) -> int:
        """Bytes of the logits that fusion looks back at, for each row; none of the main model's own vocabulary."""
        same = member.vocabulary.fingerprint == self._ensemble.main_model.vocabulary.fingerprint
        return 0 if same else self._ensemble.fusion.back * _LOGIT * member.vocabulary.size
