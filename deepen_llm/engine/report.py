"""What a step's token came from, for log-probabilities and traces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from deepen_llm.fusion.past import Past
from deepen_llm.fusion.search_step import SearchStep
from deepen_llm.fusion.surfaces.straddling import Evidence, Straddler
from deepen_llm.outputs import Candidate, MemberView, Straddling, TokenLogprob, TokenTrace
from deepen_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from deepen_llm.engine.ensemble import Ensemble

_TOP = 5  # candidates that a trace shows of each distribution


class StepReport:
    """The distributions at P places of one step; candidates are worked out only where asked for.

    Args:
        ensemble: The ensemble.
        logits: Each member's logits, ``[P, V_i]``; None for one that was not read.
        weights: The aggregation weights in force, ``[P, N]``.
        fused: The fused logits, ``[P, V_m]``.
        alone: For each place, why the main model decides alone; "" where it does not.
        past: What the fusion method has read of what came before.
        healed: What members expect where a prompt's end is healed, by member; their logits tell it already.

    Attributes:
        main: The main model's logits, ``[P, V_m]``.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        logits: Sequence[Tensor | None],
        weights: Tensor,
        fused: Tensor,
        alone: Sequence[str],
        past: Past | None = None,
        healed: Mapping[int, Sequence[Evidence]] | None = None,
    ) -> None:
        own = logits[ensemble.main]
        assert own is not None  # noqa: S101 - the main model is always read
        self._ensemble, self._weights, self._fused, self._alone, self.main = ensemble, weights, fused, alone, own
        self._logits, self._fused_evidence = logits, past.evidence if past else {}
        self._evidence = {**(healed or {}), **self._fused_evidence}

    def is_fused(self, place: int) -> bool:
        """Whether any other member had weight."""
        return self._shared[place]

    @cached_property
    def _shared(self) -> list[bool]:
        shared: list[bool] = (self._weights[:, self._ensemble.main] < 1).tolist()
        return shared

    def logprob(self, place: int, token: int, count: int) -> TokenLogprob:
        """The fused log-probability of a token, with the ``count`` likeliest beside it."""
        logprobs = self._fused[place].log_softmax(-1)
        vocabulary = self._ensemble.main_model.vocabulary
        chosen = candidate(vocabulary, logprobs, token)
        return TokenLogprob(chosen.token, chosen.text, chosen.logprob, _top(vocabulary, logprobs, count))

    def trace(self, place: int, token: int, text: str) -> TokenTrace:
        """What each member said, and why this token came out.

        Args:
            place: The place.
            token: The committed token.
            text: The characters that it completed.
        """
        members, alone = self._ensemble.members, self._alone[place]
        asked = {
            i: one[place].log_softmax(-1)
            for i, one in enumerate(self._logits)
            if one is not None and (i == self._ensemble.main or not alone)
        }
        fused, main = self._fused[place].log_softmax(-1), self._ensemble.main_model.vocabulary
        own = asked[self._ensemble.main]
        chosen, main_choice = candidate(main, fused, token), candidate(main, own, int(own.argmax()))
        views = tuple(
            MemberView(
                member.name,
                float(weight),
                _top(member.vocabulary, asked[i], _TOP) if i in asked else (),
                *(self._read(i, place) if i in asked else ()),
            )
            for i, (member, weight) in enumerate(zip(members, self._weights[place], strict=True))
        )
        changed = chosen.token != main_choice.token
        origin = self._origin(self._ensemble.main, place, token)
        reason = f"the main model alone: {alone}" if alone else f"the main model's own choice{origin}"
        moved_by = None
        if changed and not alone:
            moved_by, why = self._mover(place, token, asked)
            reason = f"{main_choice.text!r} ({math.exp(main_choice.logprob):.2f}) gave way to {chosen.text!r}: {why}"
        return TokenTrace(
            chosen,
            main_choice,
            changed,
            views,
            _top(main, fused, _TOP),
            reason,
            text,
            self._ensemble.main,
            moved_by,
            () if alone else self._course(place, token),
        )

    def _course(self, place: int, token: int) -> tuple[SearchStep, ...]:
        logits = [one[place : place + 1] for one in self._logits if one is not None]  # where not alone, all are read
        return self._ensemble.fusion.course(logits, self._weights[place : place + 1], token)

    def _mover(self, place: int, token: int, logprobs: Mapping[int, Tensor]) -> tuple[str | None, str]:
        """Who moved a token away from the main model's choice, and in words."""
        weights, own = self._weights[place].tolist(), float(logprobs[self._ensemble.main][token].exp())
        others = [i for i in logprobs if i != self._ensemble.main and weights[i] > 0]
        wishes = {i: self._wish(i, place, token, logprobs[i]) for i in others}
        behind = [i for i in others if wishes[i] > own]
        if not behind:
            return None, "no member holds it likelier; related tokens, sampling or a penalty led to it"
        first = max(behind, key=lambda i: weights[i] * wishes[i])
        name = self._ensemble.members[first].name
        return name, f"{name} holds it at {wishes[first]:.2f}{self._origin(first, place, token)}"

    def _wish(self, member: int, place: int, token: int, logprobs: Tensor) -> float:
        """A member's own probability of the main token's surface, or of the end of text; by all its readings."""
        main, own = self._ensemble.main_model.vocabulary, self._ensemble.members[member].vocabulary
        beside = member in self._fused_evidence  # else the log-probabilities are of all its readings
        evidence = self._evidence[member][place] if beside else Evidence(1.0)
        if token in main.end_of_text:
            return evidence.here * float(logprobs[list(own.end_of_text)].exp().sum())
        id_ = own.ids.get(main.surfaces[token] or b"")
        here = 0.0 if id_ is None else float(logprobs[id_].exp())
        straddlers = self._straddlers(member, place, token) if beside else []
        return evidence.here * here + sum(one.share for one in straddlers)

    def _straddlers(self, member: int, place: int, token: int) -> list[Straddler]:
        """A member's straddling tokens that go on with a main token, the likeliest first."""
        if member not in self._evidence:
            return []
        surfaces = self._ensemble.members[member].vocabulary.surfaces
        surface = self._ensemble.main_model.vocabulary.surfaces[token]
        if not surface:
            return []
        found = self._evidence[member][place].straddlers
        fitting = [one for one in found if (surfaces[one.token] or b"")[len(one.behind) :].startswith(surface)]
        return sorted(fitting, key=lambda one: -one.share)

    def _origin(self, member: int, place: int, token: int) -> str:
        """Where a member's wish for a main token mostly comes from, in words; "" where it comes from here."""
        for one in self._straddlers(member, place, token)[:1]:
            text, back = self._ensemble.members[member].vocabulary.shown(one.token), one.back
            return f", as {text!r} begun {back} {'token' if back == 1 else 'tokens'} back"
        return ""

    def _read(self, member: int, place: int) -> tuple[tuple[Straddling, ...], float]:
        """What a member expects by its readings at earlier tokens, and what it abstained from."""
        if member not in self._evidence:
            return (), 0.0
        vocabulary, found = self._ensemble.members[member].vocabulary, self._evidence[member][place]
        likely = sorted(found.straddlers, key=lambda one: -one.share)[:_TOP]
        return tuple(
            Straddling(
                vocabulary.shown(one.token),
                (vocabulary.surfaces[one.token] or b"")[len(one.behind) :].decode(errors="backslashreplace"),
                one.share,
                one.back,
            )
            for one in likely
        ), found.abstained


def candidate(vocabulary: Vocabulary, logprobs: Tensor, token: int) -> Candidate:
    """A token with its log-probability, and its text by `Vocabulary.shown`.

    Args:
        vocabulary: The vocabulary that the token is of.
        logprobs: Log-probabilities, ``[V]``.
        token: Its id.
    """
    return Candidate(token, vocabulary.shown(token), float(logprobs[token]))


def _top(vocabulary: Vocabulary, logprobs: Tensor, count: int) -> tuple[Candidate, ...]:
    ids = logprobs.topk(min(count, logprobs.shape[-1])).indices.tolist()
    return tuple(candidate(vocabulary, logprobs, token) for token in ids)
