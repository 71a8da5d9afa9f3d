"""The engine: requests are added, decoded together step by step, and leave when they are finished or aborted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple
from weakref import WeakSet

from deepen_llm.engine.advancing import Advance, advance
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.drafting import Drafter
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.fusing import Fused, fuse
from deepen_llm.engine.prefill import PREFILL_TOKENS, Prefill, prefills
from deepen_llm.engine.scheduler import Scheduler
from deepen_llm.engine.sequence import Request, TokenSequence
from deepen_llm.engine.tokens import Token
from deepen_llm.errors import ConfigError, EngineError, LogitsError


class Forward(NamedTuple):
    """One forward of the ensemble, for callers that record it.

    Attributes:
        contexts: The members' contexts.
        sequences: The running sequences, in the contexts' order.
        drafts: The draft of each.
        fused: The fused logits at all boundaries.
    """

    contexts: Contexts
    sequences: Sequence[TokenSequence]
    drafts: Sequence[Sequence[Token]]
    fused: Fused


class Engine:
    """Decodes requests together: the loop of all callers.

    One step reads prompts of waiting requests, drafts, reads every member, fuses, chooses tokens, and appends them in
    every member's context. Requests may be added and aborted between steps; each has options of its own. One thread at
    a time may use an engine (see `SharedEngine`).

    A request that cannot go on is dropped, with the error as its ``failure``. Where logits are no distribution, or a
    prompt cannot be read, that concerns the requests whose logits or prompts they are; any other error of a step
    concerns all running requests, since the members' contexts may differ afterwards. The waiting ones go on.

    Args:
        ensemble: The ensemble.
        batch_size: The most sequences at a time; fewer where their caches would not fit into memory.
        max_waiting: The most sequences that wait beside them; None for any number.
        on_forward: Called in each step, before tokens are chosen.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        batch_size: int,
        *,
        max_waiting: int | None = None,
        on_forward: Callable[[Forward], None] | None = None,
    ) -> None:
        self._ensemble, self._on_forward = ensemble, on_forward
        self._scheduler, self._drafter = Scheduler(ensemble, batch_size, max_waiting), Drafter(ensemble)
        self._contexts: Contexts | None = None  # of the running sequences, in their order
        self._sequences: list[TokenSequence] = []
        self._prefills: list[Prefill] = []  # of the running requests whose sequences have not begun
        self._added = WeakSet[Request[TokenSequence]]()

    @property
    def waiting(self) -> Sequence[Request[TokenSequence]]:
        """The requests that have not begun, in the order in which they will."""
        return self._scheduler.waiting

    @property
    def running(self) -> Sequence[Request[TokenSequence]]:
        """The requests that have begun and are not finished."""
        return tuple(self._scheduler.running)

    @property
    def _decoding(self) -> list[Request[TokenSequence]]:
        """The running requests whose prompts are read."""
        sequences = set(map(id, self._sequences))
        return [request for request in self.running if any(id(one) in sequences for one in request.sequences)]

    @property
    def has_unfinished(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._scheduler)

    def add(self, request: Request[TokenSequence], caller: Hashable = None) -> None:
        """Let a request wait; it runs as soon as there is room.

        Args:
            request: The request.
            caller: Who adds it: the first requests of all callers begin before the second ones.

        Raises:
            ConfigError: It was added before: its sequences go on from where they are, and cannot begin again.
            QueueFullError: As many sequences wait as may.
            MemoryLimitError: Its prompts alone never fit into memory.
        """
        if request in self._added or any(sequence.begun for sequence in request.sequences):
            raise ConfigError("a request that was added before", hint="make a new request for the same prompt")
        self._scheduler.add(request, caller)
        self._added.add(request)

    def step(self) -> list[TokenSequence]:
        """Decode one step of all running sequences.

        Returns:
            The sequences that took tokens, those that are now finished among them; none of a request that failed.
        """
        if not self.has_unfinished:
            return []
        try:
            try:
                return self._step()
            except LogitsError as error:
                self._drop_bad(error)
        except Exception as error:
            self._drop(self._decoding or self.running or self.waiting, error)  # in any case, a step leaves less to do
        except BaseException:  # Ctrl-C between any two instructions
            self._drop(self.running, interrupted())
            raise
        return []

    def abort(self, *requests: Request[TokenSequence]) -> None:
        """Drop requests, and free at once what they hold; the others go on. Finished ones are left as they are.

        An error while they are separated concerns all running requests, as in `step`.
        """
        self._scheduler.remove(requests)
        self._separate()

    def close(self) -> None:
        """Drop all requests, and free their memory."""
        self._scheduler.clear()
        self._free_all()

    def _step(self) -> list[TokenSequence]:
        contexts = self._running_contexts()
        self._start_waiting(contexts)
        sequences = self._sequences
        if not sequences:  # no prompt could be read
            self._keep([])
            return []
        drafts = self._drafter.propose(contexts, sequences)
        boundaries = [sequence.boundaries(draft) for sequence, draft in zip(sequences, drafts, strict=True)]
        fused = fuse(contexts, drafts, boundaries)
        if contexts.check():
            fused = fuse(contexts, drafts, boundaries)
        if self._drop_left_out(contexts):
            return []
        fused.check()
        if self._on_forward:
            self._on_forward(Forward(contexts, sequences, drafts, fused))
        self._commit(contexts, advance(contexts, fused, drafts, sequences, self._drafter))
        return sequences

    def _running_contexts(self) -> Contexts:
        """The contexts of the running sequences; of none, all members', even of one that has failed before."""
        if self._contexts and not self._sequences and self._contexts.has_replaced:
            self._free()
        self._contexts = self._contexts or Contexts(self._ensemble, [])
        return self._contexts

    def _start_waiting(self, contexts: Contexts) -> None:
        """Read the prompts of the waiting requests that fit beside the running ones, and begin their sequences.

        While sequences run, a step reads at most `PREFILL_TOKENS` tokens of prompts, so that they go on. Sequences that
        go on without a member run alone: what begins later has all members.
        """
        if self._sequences and contexts.has_replaced:
            return
        budget = PREFILL_TOKENS if self._sequences else sys.maxsize
        self._prefills += prefills(self._ensemble, self._scheduler.schedule())
        while self._prefills and budget > 0:
            prefill = self._prefills[0]
            if not prefill.finished:
                budget -= self._read_prompts(prefill, budget)
            if prefill.finished and prefill in self._prefills:
                if self._sequences and (contexts.has_replaced or prefill.contexts.has_replaced):
                    return  # these begin once the running ones have ended
                del self._prefills[0]
                self._sequences = [*self._sequences, *chain.from_iterable(one.sequences for one in prefill.requests)]
                contexts.join(prefill.contexts)

    def _read_prompts(self, prefill: Prefill, most: int) -> int:
        """`Prefill.read`; where that fails, each of its requests is read alone, or has failed."""
        try:
            return prefill.read(most)
        except Exception as error:
            if len(prefill.requests) == 1:
                self._fail(prefill.requests, error)
            self._prefills[:1] = prefill.divided()
            return 0

    def _commit(self, contexts: Contexts, advanced: Advance) -> None:
        """Drop the finished sequences, and append the tokens of the others in every member's context."""
        unfinished = [i for i, sequence in enumerate(self._sequences) if not sequence.finished]
        self._keep(unfinished)
        if not unfinished:
            return
        contexts.commit([advanced.tokens[i] for i in unfinished])
        contexts.reread([unfinished.index(i) for i in advanced.reread])
        for sequence, budget in zip(self._sequences, contexts.budgets(), strict=True):
            sequence.end_at_limit(min(budget) < 1)
        self._keep([i for i, sequence in enumerate(self._sequences) if not sequence.finished])

    def _keep(self, indices: Sequence[int]) -> None:
        """Keep these running sequences; the contexts are freed once nothing runs or waits."""
        contexts = self._contexts
        if contexts and len(indices) < len(self._sequences):
            contexts.select(indices)
        self._sequences = [self._sequences[i] for i in indices]
        self._scheduler.retire()
        if not self.has_unfinished:
            self._free()

    def _drop_bad(self, error: LogitsError) -> None:
        """Drop the requests whose logits are no distribution; all running ones where that is not known."""
        sequences = set(error.sequences)
        try:
            self._contexts.check() if self._contexts else None
        except LogitsError as another:  # of a member that was read, too
            sequences |= another.sequences
        bad = {id(self._sequences[index]) for index in sequences}
        concerned = [request for request in self.running if bad & set(map(id, request.sequences))]
        self._drop(concerned or self._decoding, error)

    def _drop_left_out(self, contexts: Contexts) -> bool:
        """Let sequences know which members they go on without; drop the requests whose tokens are given.

        Returns:
            Whether any request was dropped.
        """
        for sequence, members in zip(self._sequences, contexts.left_out, strict=True):
            sequence.left_out = tuple(contexts.ensemble.members[i].name for i in members)
        given = [
            sequence
            for request in self._decoding
            for sequence in request.sequences
            if request.options is None and sequence.left_out
        ]
        for request in [one for one in self._decoding if any(part in given for part in one.sequences)]:
            first = next(part.left_out[0] for part in request.sequences if part.left_out)
            self._drop([request], contexts.failure_of(first))
        return bool(given)

    def _drop(self, requests: Collection[Request[TokenSequence]], error: BaseException) -> None:
        """Drop requests that cannot go on."""
        self._fail(requests, error)
        self._separate()

    def _separate(self) -> None:
        """Keep the sequences of running requests only; after an error there, the members' contexts may differ."""
        running = {id(sequence) for request in self.running for sequence in request.sequences}
        going_on = [i for i, sequence in enumerate(self._sequences) if id(sequence) in running]
        try:
            self._keep(going_on) if going_on else self._free()
            self._prefills = [prefill for prefill in self._prefills if prefill.keep(self.running)]
        except Exception as error:
            self._fail(self.running, error)
            self._free_all()
        except BaseException:
            self._fail(self.running, interrupted())
            self._free_all()
            raise

    def _fail(self, requests: Collection[Request[TokenSequence]], error: BaseException) -> None:
        for request in requests:
            request.failure = error if request.unfinished else None
        self._scheduler.remove(requests)

    def _free(self) -> None:
        contexts, self._contexts, self._sequences = self._contexts, None, []
        if contexts:
            contexts.close()

    def _free_all(self) -> None:
        prefills, self._prefills = self._prefills, []
        with ExitStack() as closing:  # the others, too, where one raises an error
            closing.callback(self._free)
            for prefill in prefills:
                closing.callback(prefill.close)


def interrupted() -> EngineError:
    """The error of requests that others than the interrupted caller wait for."""
    return EngineError("a step was interrupted", hint="ask again")
