"""Drafts: tokens that one model proposes, so that the members read several at once (speculative decoding).

Nothing is approximated. A drafted token is drawn with the same random numbers that the ensemble will draw with, and
stays only where the ensemble, at that boundary, draws the same one: a draft saves forwards and changes no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from deepen_llm.engine.answer import Answer
from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.given import given_drafts
from deepen_llm.engine.sampling import choose_by_group
from deepen_llm.engine.sequence import TokenSequence
from deepen_llm.engine.tokens import Token

_PRIOR = 0.8  # the share of accepted tokens that is assumed at first
_MEMORY = 0.95  # the weight of that share in the moving average, for each token compared
_PROBE = 16  # every so many steps at least one token is drafted, to measure the share again


class Drafter:
    """Proposes the tokens that may come next; their number adapts to how many were chosen so far.

    Args:
        ensemble: The ensemble.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._agreement, self._steps = _PRIOR, 0
        self._proposed: list[list[int]] = []
        draft_model, weight_bytes = ensemble.draft_model, [member.weight_bytes for member in ensemble.members]
        self._draft_cost = draft_model.weight_bytes if draft_model else weight_bytes[ensemble.main]
        self._step_cost = sum(weight_bytes) if draft_model else sum(weight_bytes) - self._draft_cost

    def propose(self, contexts: Contexts, sequences: Sequence[TokenSequence]) -> list[list[Token]]:
        """For each sequence, tokens that may come next and that all members can read at once; may be empty.

        The draft of a given sequence is its next tokens.
        """
        drafts = given_drafts(contexts, sequences)
        self._proposed = [[] for _ in sequences]
        answers = {index: sequence for index, sequence in enumerate(sequences) if isinstance(sequence, Answer)}
        if not self._ensemble.draft_tokens or not answers:
            return drafts
        longest, main_drafts = self._length(), self._ensemble.draft_model is None
        if (longest == 0 and not main_drafts) or not contexts.can_draft(longest):
            return drafts
        self._extend(contexts, answers, drafts, longest)
        return drafts

    def learn(self, sequence: int, depth: int, token: int) -> None:
        """Compare the token that the ensemble chose at a boundary of a sequence with the proposed one."""
        proposed = self._proposed[sequence]
        if depth < len(proposed):
            self._agreement += (1 - _MEMORY) * ((token == proposed[depth]) - self._agreement)

    def _extend(
        self, contexts: Contexts, answers: Mapping[int, Answer], drafts: list[list[Token]], longest: int
    ) -> None:
        """Extend the answers' drafts in place, token by token, to at most ``longest`` tokens."""
        generators = {index: _copy(answer.generator) for index, answer in answers.items()}
        ids, growing = {index: answer.ids for index, answer in answers.items()}, list(answers)
        for _ in range(longest + (self._ensemble.draft_model is None)):  # the main model's last forward is its reading
            if not growing:
                return
            tokens = [[token.id for token in draft] if i in answers else [] for i, draft in enumerate(drafts)]
            logits = contexts.draft_context.read(tokens, ends_only=True).logits[growing]
            contexts.draft_context.check()
            chosen = choose_by_group(
                [answers[i].sampling for i in growing],
                logits,
                [[*ids[i], *tokens[i]] for i in growing],
                [generators[i] for i in growing],
            )
            for i, token in zip(growing, chosen, strict=True):
                self._proposed[i].append(token)
            growing = [i for i in growing if self._continues(drafts[i], self._proposed[i][-1], longest)]
            for i in growing:
                extended = [*tokens[i], self._proposed[i][-1]]
                drafts[i].append(Token(extended[-1], answers[i].preview(extended)[-1][0]))
            readable = contexts.readable(drafts)
            growing = [i for i in growing if readable[i] == len(drafts[i])]
            drafts[:] = [draft[:count] for draft, count in zip(drafts, readable, strict=True)]

    def _continues(self, draft: Sequence[Token], token: int, longest: int) -> bool:
        return len(draft) < longest and token not in self._ensemble.vocabulary.end_of_text

    def _length(self) -> int:
        """The draft length that costs least for each token that is likely to be accepted."""
        self._steps += 1
        costs = [self._cost(length) for length in range(self._ensemble.draft_tokens + 1)]
        best = min(range(len(costs)), key=costs.__getitem__)
        return max(best, 1) if self._steps % _PROBE == 0 else best

    def _cost(self, length: int) -> float:
        """Weight bytes read for each token: d drafted tokens give 1 + a + ... + a^d on average, a share a accepted."""
        tokens = sum(self._agreement**depth for depth in range(length + 1))
        drafted = length if self._ensemble.draft_model else length + 1
        return (drafted * self._draft_cost + self._step_cost) / tokens


def _copy(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())
