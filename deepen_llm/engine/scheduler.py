"""The scheduler: decides which requests run and which wait, by the batch size and the memory of caches."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import zip_longest

import torch

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.sequence import Request, TokenSequence
from deepen_llm.errors import MemoryLimitError, QueueFullError
from deepen_llm.members.base import Member
from deepen_llm.members.memory import buffer_size, free_memory

_GROWTH = 2  # while buffers grow, those of half the size are still there, and those of the sequences that join
_LOGIT = 4  # bytes
_USABLE = 0.8  # of the free memory: the rest is for logits, the fused step and fragmentation


class Scheduler:
    """Requests that wait and requests that run.

    Each caller's requests begin in their order; callers take turns, so that one with many requests does not keep the
    others waiting.

    Args:
        ensemble: The ensemble.
        batch_size: The most sequences at a time; those of one request run together, whatever their number.
        max_waiting: The most sequences that wait beside them; None for any number.

    Attributes:
        running: The requests that have begun, and have sequences that are not finished.
    """

    def __init__(self, ensemble: Ensemble, batch_size: int, max_waiting: int | None = None) -> None:
        self.running: list[Request[TokenSequence]] = []
        self._by_caller: dict[Hashable, deque[Request[TokenSequence]]] = {}  # the caller whose turn it is first
        self._ensemble, self._batch_size, self._max_waiting = ensemble, batch_size, max_waiting
        self._cache_budget = CacheBudget(ensemble)

    def __bool__(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._by_caller or self.running)

    @property
    def waiting(self) -> tuple[Request[TokenSequence], ...]:
        """The requests that have not begun, in the order in which they will."""
        turns = zip_longest(*self._by_caller.values())
        return tuple(request for turn in turns for request in turn if request is not None)

    def add(self, request: Request[TokenSequence], caller: Hashable) -> None:
        """Let a request wait, behind those of its caller.

        Raises:
            QueueFullError: As many sequences wait as may.
            MemoryLimitError: The request's prompts alone never fit into memory.
        """
        self._check_queue(request)
        self._check_memory(request)
        self._by_caller.setdefault(caller, deque()).append(request)

    def schedule(self) -> list[Request[TokenSequence]]:
        """Start the first waiting requests that fit beside the running ones, and return them."""
        scheduled: list[Request[TokenSequence]] = []
        if not self.running:
            self._cache_budget = CacheBudget(self._ensemble)
        while self._by_caller:
            caller, requests = next(iter(self._by_caller.items()))
            if self.running and not self._fits(requests[0]):
                break
            scheduled.append(requests.popleft())
            self.running.append(scheduled[-1])
            del self._by_caller[caller]
            if requests:
                self._by_caller[caller] = requests
        return scheduled

    def retire(self) -> None:
        """Drop running requests whose sequences are all finished."""
        self.running = [request for request in self.running if request.unfinished]

    def remove(self, requests: Collection[Request[TokenSequence]]) -> None:
        """Drop requests, whether they wait, run or are finished."""
        dropped = set(map(id, requests))
        self.running = [request for request in self.running if id(request) not in dropped]
        left = {
            caller: deque(request for request in requests if id(request) not in dropped)
            for caller, requests in self._by_caller.items()
        }
        self._by_caller = {caller: requests for caller, requests in left.items() if requests}

    def clear(self) -> None:
        """Drop all requests."""
        self._by_caller.clear()
        self.running.clear()

    def _check_queue(self, request: Request[TokenSequence]) -> None:
        if self._max_waiting is None:
            return
        others = sum(len(other.unfinished) for other in (*self.waiting, *self.running))
        most = self._batch_size + self._max_waiting
        if others and others + len(request.sequences) > most:
            raise QueueFullError(
                f"expected at most {most} sequences (batch_size={self._batch_size} that run and "
                f"max_waiting={self._max_waiting} that wait), got {len(request.sequences)} more than {others}",
                hint="ask again once others have ended, or raise max_waiting",
            )

    def _check_memory(self, request: Request[TokenSequence]) -> None:
        if not self:
            self._cache_budget = CacheBudget(self._ensemble)
        count, lengths = len(request.sequences), [len(prompt.ids) + 1 for prompt in request.prompt]
        if lacking := self._cache_budget.lacking(count, lengths):
            device, needed, free = lacking
            raise MemoryLimitError(
                f"expected a request that fits into the free memory of {device} ({_gigabytes(free)}), got {count} "
                f"sequences of {max(lengths)} tokens, whose caches take {_gigabytes(needed)}",
                hint="ask for fewer samples, shorten the prompt, or free memory",
            )

    def _fits(self, request: Request[TokenSequence]) -> bool:
        """Whether a request can run beside the running ones."""
        together = [*self.running, request]
        unfinished = [other.unfinished for other in together]
        count = sum(map(len, unfinished))
        if count > self._batch_size:
            return False
        limits = [max(sequence.token_limit for sequence in sequences) for sequences in unfinished]
        lengths = [
            max(len(other.prompt[i].ids) + limit for other, limit in zip(together, limits, strict=True))
            for i in range(len(self._ensemble.members))
        ]
        return self._cache_budget.holds(count, lengths)


class CacheBudget:
    """The bytes that members' caches, and the logits that fusion keeps, may take on each device.

    Args:
        ensemble: The ensemble.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        devices = {member.device for member in ensemble.members if member.bytes_per_token}
        self._free = {device: free for device in devices if (free := free_memory(device)) is not None}

    def holds(self, count: int, lengths: Sequence[int]) -> bool:
        """Whether the buffers for so many sequences fit, with room for all else.

        Args:
            count: The number of sequences.
            lengths: For each member, the most tokens that one of its sequences may have.
        """
        needed = self._needed(lengths, lambda slots: _GROWTH * math.prod(buffer_size(count, slots)), count)
        return all(needed[device] <= _USABLE * free for device, free in self._free.items())

    def lacking(self, count: int, lengths: Sequence[int]) -> tuple[torch.device, float, int] | None:
        """A device whose free memory does not hold so many sequences' tokens alone; the bytes needed, and those free.

        Args:
            count: See `holds`.
            lengths: See `holds`.
        """
        needed = self._needed(lengths, lambda slots: count * slots, count)
        exceeded = ((device, needed[device], free) for device, free in self._free.items() if needed[device] > free)
        return next(exceeded, None)

    def _needed(
        self, lengths: Sequence[int], slots_for: Callable[[int], float], count: int
    ) -> dict[torch.device, float]:
        """Bytes needed on each device, where a member's sequences take ``slots_for`` their length in all."""
        needed, draft_model = defaultdict[torch.device, float](float), self._ensemble.draft_model
        members = [*zip(self._ensemble.members, lengths, strict=True)]
        members += [(draft_model, lengths[self._ensemble.main])] if draft_model else []
        for member, length in members:
            slots = slots_for(min(length, member.context_length or length))
            needed[member.device] += slots * member.bytes_per_token + count * self._kept_logits(member)
        return needed

    def _kept_logits(self, member: Member) -> int:
        """Bytes of the logits that fusion keeps per sequence; none of a member with the ensemble's vocabulary."""
        same = member.vocabulary.fingerprint == self._ensemble.vocabulary.fingerprint
        return 0 if same else self._ensemble.fusion.back * _LOGIT * member.vocabulary.size


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"
