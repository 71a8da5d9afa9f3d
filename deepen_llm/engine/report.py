"""Log-probabilities and traces of a step's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import Tensor

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.fusion.past import Past
from deepen_llm.fusion.search_step import SearchStep
from deepen_llm.fusion.surfaces.expected import Evidence, Straddler
from deepen_llm.outputs import Candidate, MemberView, Straddling, TokenLogprob, TokenTrace
from deepen_llm.vocabulary import Vocabulary

_TOP = 5  # candidates that a trace shows of each distribution


class StepReport:
    """The distributions at P boundaries of one step; log-probabilities and traces are computed when requested.

    Args:
        ensemble: The ensemble.
        logits: Each member's logits, ``[P, V_i]``; None for one that was not read.
        weights: The aggregation weights in force, ``[P, N]``.
        fused: The fused logits, ``[P, V_m]``.
        closed: For each boundary, why the main model's distribution was taken; "" where it was fused.
        past: The logits at earlier boundaries that the fusion method has used.
        healed: By member, its evidence where a prompt's end is healed; its logits are computed from it.

    Attributes:
        logits: See above.
        weights: See above.
        main: The main model's logits, ``[P, V_m]``.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        logits: Sequence[Tensor | None],
        weights: Tensor,
        fused: Tensor,
        closed: Sequence[str],
        past: Past | None = None,
        healed: Mapping[int, Sequence[Evidence]] | None = None,
    ) -> None:
        main = logits[ensemble.main]
        assert main is not None  # noqa: S101 - the main model is always read
        self.logits, self.main = logits, main
        self._ensemble, self.weights, self._fused, self._closed = ensemble, weights, fused, closed
        self._fused_evidence = past.evidence if past else {}
        self._evidence = {**(healed or {}), **self._fused_evidence}

    def is_fused(self, position: int) -> bool:
        """Whether any other member had weight."""
        return self._has_others[position]

    @cached_property
    def _has_others(self) -> list[bool]:
        has_others: list[bool] = (self.weights[:, self._ensemble.main] < 1).tolist()
        return has_others

    def logprob(self, position: int, token: int, count: int) -> TokenLogprob:
        """The fused log-probability of a token, with the ``count`` likeliest beside it."""
        logprobs = self._fused[position].log_softmax(-1)
        vocabulary = self._ensemble.vocabulary
        chosen = candidate(vocabulary, logprobs, token)
        return TokenLogprob(chosen.token, chosen.text, chosen.logprob, _top(vocabulary, logprobs, count))

    def trace(self, position: int, token: int, text: str) -> TokenTrace:
        """Each member's distribution at a boundary, and why this token was chosen.

        Args:
            position: The boundary's position.
            token: The committed token.
            text: The characters that it completed.
        """
        vocabulary, logprobs = self._ensemble.vocabulary, self._logprobs(position)
        fused, by_main = self._fused[position].log_softmax(-1), logprobs[self._ensemble.main]
        chosen = candidate(vocabulary, fused, token)
        main_choice = candidate(self._ensemble.main_model.vocabulary, by_main, int(by_main.argmax()))
        moved_by, reason = self._reason(position, chosen, main_choice, logprobs)
        return TokenTrace(
            chosen=chosen,
            main_choice=main_choice,
            changed=not self._is_same(chosen.token, main_choice.token),
            members=self._views(position, logprobs),
            fused=_top(vocabulary, fused, _TOP),
            reason=reason,
            text=text,
            main_model=self._ensemble.main,
            moved_by=moved_by,
            search_path=() if self._closed[position] else self._search_path(position, token),
        )

    def _is_same(self, token: int, main_token: int) -> bool:
        """Whether a token is the main model's token, by what it spells where the vocabularies differ."""
        ensemble = self._ensemble
        if not ensemble.fusion.has_own_vocabulary:
            return token == main_token
        vocabulary, main = ensemble.vocabulary, ensemble.main_model.vocabulary
        if token in vocabulary.end_of_text or main_token in main.end_of_text:
            return token in vocabulary.end_of_text and main_token in main.end_of_text
        return vocabulary.surfaces[token] == main.surfaces[main_token]

    def _logprobs(self, position: int) -> dict[int, Tensor]:
        """Log-probabilities by member, ``[V_i]`` each; of the main model alone where the boundary was closed."""
        return {
            i: logits[position].log_softmax(-1)
            for i, logits in enumerate(self.logits)
            if logits is not None and (i == self._ensemble.main or not self._closed[position])
        }

    def _views(self, position: int, logprobs: Mapping[int, Tensor]) -> tuple[MemberView, ...]:
        weights = self.weights[position].tolist()
        views = list[MemberView]()
        for i, (member, weight) in enumerate(zip(self._ensemble.members, weights, strict=True)):
            if i not in logprobs:
                views.append(MemberView(member.name, weight, ()))
                continue
            straddling, abstained = self._straddling(i, position)
            top = _top(member.vocabulary, logprobs[i], _TOP)
            views.append(MemberView(member.name, weight, top, straddling, abstained))
        return tuple(views)

    def _reason(
        self, position: int, chosen: Candidate, main_choice: Candidate, logprobs: Mapping[int, Tensor]
    ) -> tuple[str | None, str]:
        """The member that moved the token away from the main model's choice, if any, and why it was chosen."""
        if closed := self._closed[position]:
            return None, f"the main model alone: {closed}"
        if self._is_same(chosen.token, main_choice.token):
            origin = self._origin(self._ensemble.main, position, chosen.token)
            return None, f"the main model's own choice{origin}"
        moved_by, why = self._moved_by(position, chosen.token, logprobs)
        probability = math.exp(main_choice.logprob)
        return moved_by, f"{main_choice.text!r} ({probability:.2f}) gave way to {chosen.text!r}: {why}"

    def _search_path(self, position: int, token: int) -> tuple[SearchStep, ...]:
        # A boundary that was fused has logits of all members.
        logits = [of_member[position : position + 1] for of_member in self.logits if of_member is not None]
        return self._ensemble.fusion.search_path(logits, self.weights[position : position + 1], token)

    def _moved_by(self, position: int, token: int, logprobs: Mapping[int, Tensor]) -> tuple[str | None, str]:
        """The member that moved a token away from the main model's choice, and in words why."""
        main = self._ensemble.main
        weights = self.weights[position].tolist()
        if self._ensemble.fusion.has_own_vocabulary:
            by_main = self._probability_of(main, position, token, logprobs[main])
        else:
            by_main = float(logprobs[main][token].exp())
        others = [i for i in logprobs if i != main and weights[i] > 0]
        probabilities = {i: self._probability_of(i, position, token, logprobs[i]) for i in others}
        likelier = [i for i in others if probabilities[i] > by_main]
        if not likelier:
            return None, "no member holds it likelier; related tokens, sampling or a penalty led to it"
        first = max(likelier, key=lambda i: weights[i] * probabilities[i])
        name = self._ensemble.members[first].name
        return name, f"{name} holds it at {probabilities[first]:.2f}{self._origin(first, position, token)}"

    def _probability_of(self, member: int, position: int, token: int, logprobs: Tensor) -> float:
        """A member's own probability of a main token's surface, or of the end of text; its evidence included."""
        chosen_from, vocabulary = self._ensemble.vocabulary, self._ensemble.members[member].vocabulary
        is_separate = member in self._fused_evidence  # else its log-probabilities contain its evidence already
        evidence = self._evidence[member][position] if is_separate else Evidence(1.0)
        if token in chosen_from.end_of_text:
            return evidence.here * float(logprobs[list(vocabulary.end_of_text)].exp().sum())
        id_ = vocabulary.ids.get(chosen_from.surfaces[token] or b"")
        here = 0.0 if id_ is None else float(logprobs[id_].exp())
        straddlers = self._straddlers(member, position, token) if is_separate else []
        return evidence.here * here + sum(straddler.share for straddler in straddlers)

    def _straddlers(self, member: int, position: int, token: int) -> list[Straddler]:
        """A member's straddling tokens whose rest begins with a main token's surface, the likeliest first."""
        if member not in self._evidence:
            return []
        surfaces = self._ensemble.members[member].vocabulary.surfaces
        surface = self._ensemble.vocabulary.surfaces[token]
        if not surface:
            return []
        fitting = [
            straddler
            for straddler in self._evidence[member][position].straddlers
            if _rest(surfaces, straddler).startswith(surface)
        ]
        return sorted(fitting, key=lambda straddler: -straddler.share)

    def _origin(self, member: int, position: int, token: int) -> str:
        """The text of the likeliest straddling token whose rest begins with a main token's surface; "" for none."""
        for straddler in self._straddlers(member, position, token)[:1]:
            text, back = self._ensemble.members[member].vocabulary.shown(straddler.token), straddler.back
            return f", as {text!r} begun {back} {'token' if back == 1 else 'tokens'} back"
        return ""

    def _straddling(self, member: int, position: int) -> tuple[tuple[Straddling, ...], float]:
        """A member's likeliest straddling tokens, and the share for which it abstained."""
        if member not in self._evidence:
            return (), 0.0
        vocabulary, evidence = self._ensemble.members[member].vocabulary, self._evidence[member][position]
        likeliest = sorted(evidence.straddlers, key=lambda straddler: -straddler.share)[:_TOP]
        return tuple(
            Straddling(
                text=vocabulary.shown(straddler.token),
                rest=_rest(vocabulary.surfaces, straddler).decode(errors="backslashreplace"),
                share=straddler.share,
                back=straddler.back,
            )
            for straddler in likeliest
        ), evidence.abstained


def _rest(surfaces: Sequence[bytes | None], straddler: Straddler) -> bytes:
    """The bytes of a straddling token that are still to come."""
    return (surfaces[straddler.token] or b"")[len(straddler.behind) :]


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
