"""Prefill: the prompts of requests that begin together are read, in parts where other sequences run meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.sequence import Request, TokenSequence
from deepen_llm.members.context import SHORTEST_PREFIX

PREFILL_TOKENS = 512
"""The most tokens of prompts that each member reads in a step in which sequences run."""


class Prefill:
    """Requests whose prompts are read together, until their sequences can begin.

    Args:
        ensemble: The ensemble.
        requests: Requests whose contexts are opened in one way.

    Attributes:
        requests: See above.
        finished: Whether the prompts are read.
    """

    def __init__(self, ensemble: Ensemble, requests: Sequence[Request[TokenSequence]]) -> None:
        self.requests, self.finished = list(requests), False
        self._ensemble = ensemble
        self._contexts: Contexts | None = None

    @property
    def contexts(self) -> Contexts:
        """The members' contexts, with a sequence for each prompt; for each answer, once they are read."""
        if self._contexts is None:
            given, healing = _opening(self.requests[0])
            prompts = [request.prompt for request in self.requests]
            self._contexts = Contexts(self._ensemble, prompts, given=given, healing=healing)
        return self._contexts

    def read(self, most: int) -> int:
        """Read the prompts, or parts of them where they have more tokens.

        Args:
            most: The most tokens for each member.

        Returns:
            How many a member has read.

        Raises:
            Exception: A prompt cannot be read; the contexts are closed.
        """
        try:
            unread = self.contexts.unread
            if unread > most:
                self.contexts.read_prompts(most)
                return most
            self.contexts.prefill([len(request.sequences) for request in self.requests])
            self.finished = True
            return unread
        except BaseException:
            self.close()
            raise

    def divided(self) -> list[Prefill]:
        """The same for each request alone; none for a single one."""
        alone = self.requests if len(self.requests) > 1 else ()
        return [Prefill(self._ensemble, [request]) for request in alone]

    def keep(self, requests: Collection[Request[TokenSequence]]) -> bool:
        """Keep these requests of all, and free the others.

        Returns:
            Whether any is left.
        """
        kept = set(map(id, requests))
        indices = [i for i, request in enumerate(self.requests) if id(request) in kept]
        if len(indices) < len(self.requests):
            self.requests = [self.requests[i] for i in indices]
            if not indices:
                self.close()
            elif self._contexts is not None:
                self._contexts.select(indices)
        return bool(indices)

    def close(self) -> None:
        """Free the contexts."""
        contexts, self._contexts = self._contexts, None
        if contexts is not None:
            contexts.close()


def prefills(ensemble: Ensemble, requests: Sequence[Request[TokenSequence]]) -> list[Prefill]:
    """The prefills of requests, in their order: those next to each other that are opened in one way together.

    Of prompts that begin alike, the first is read before the others, so that members read their beginning once.
    """
    found = list[Prefill]()
    for _, group in groupby(requests, key=_opening):
        first: dict[object, Request[TokenSequence]] = {}
        later = list[Request[TokenSequence]]()
        for request in group:
            ids = request.prompt[ensemble.main].ids
            beginning = tuple(ids[:SHORTEST_PREFIX]) if len(ids) > SHORTEST_PREFIX else id(request)
            if first.setdefault(beginning, request) is not request:
                later.append(request)
        found += [Prefill(ensemble, wave) for wave in (list(first.values()), later) if wave]
    return found


def _opening(request: Request[TokenSequence]) -> tuple[bool, bool]:
    """How a request's contexts are opened: whether its tokens are given, and whether its prompt's end is healed."""
    return request.options is None, request.options is not None and request.options.token_healing
