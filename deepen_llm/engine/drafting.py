"""Drafts: tokens that one model proposes, so that the members read several at once (speculative decoding).

Nothing is approximated. A drafted token is drawn with the same random numbers that the ensemble will draw with, and
stays only where the ensemble, at that boundary, draws the same one: a draft saves forwards and changes no answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deepen_llm.engine.contexts import Contexts
from deepen_llm.engine.ensemble import Ensemble, Step
from deepen_llm.engine.sampling import Sampler
from deepen_llm.engine.sequence import Row

_PRIOR, _MEMORY = 0.8, 0.95  # agreement assumed at first, and how slowly what was seen moves it
_PROBE = 16  # steps after which drafting that was given up is tried once more


class Drafter:
    """Proposes what may come next, as much of it as has paid off so far.

    Args:
        ensemble: The ensemble.
        sampler: Chooses tokens as the options say.
    """

    def __init__(self, ensemble: Ensemble, sampler: Sampler) -> None:
        self._ensemble, self._sampler = ensemble, sampler
        self._agreement, self._steps = _PRIOR, 0
        self._proposed: list[list[int]] = []
        own, members = ensemble.draft_model, [member.weight_bytes for member in ensemble.members]
        self._draft_cost = own.weight_bytes if own else members[ensemble.main]
        self._step_cost = sum(members) if own else sum(members) - self._draft_cost

    def propose(self, contexts: Contexts, rows: Sequence[Row]) -> list[list[Step]]:
        """For each row, steps that may come next and that all members can read at once; may be empty."""
        drafts: list[list[Step]] = [[] for _ in rows]
        self._proposed = [[] for _ in rows]
        if not self._ensemble.draft_tokens:
            return drafts
        longest, own = self._length(), self._ensemble.draft_model is None
        if (longest == 0 and not own) or not contexts.can_draft(longest):
            return drafts
        dice, growing = [_copy(row.generator) for row in rows], list(range(len(rows)))
        written = [row.written for row in rows]
        for _ in range(longest + own):  # the main model's last forward is its own reading
            if not growing:
                break
            self._choose(contexts, drafts, growing, written, dice)
            growing = [row for row in growing if self._goes_on(drafts[row], self._proposed[row][-1], longest)]
            for row in growing:
                tokens = [step.token for step in drafts[row]] + self._proposed[row][-1:]
                drafts[row].append(Step(tokens[-1], rows[row].preview(tokens)[-1][0]))
            fitting = contexts.readable(drafts)
            growing = [row for row in growing if fitting[row] == len(drafts[row])]
            drafts = [draft[:fits] for draft, fits in zip(drafts, fitting, strict=True)]
        return drafts

    def learn(self, row: int, depth: int, token: int) -> None:
        """Hear which token the ensemble chose at a boundary of a row."""
        proposed = self._proposed[row]
        if depth < len(proposed):
            self._agreement += (1 - _MEMORY) * ((token == proposed[depth]) - self._agreement)

    def _choose(
        self,
        contexts: Contexts,
        drafts: Sequence[Sequence[Step]],
        rows: Sequence[int],
        written: Sequence[Sequence[int]],
        dice: Sequence[torch.Generator],
    ) -> None:
        """Propose one more token in these rows, behind what all rows have written."""
        tokens = [[step.token for step in draft] for draft in drafts]
        logits = contexts.drafting.read(tokens, ends_only=True).logits[list(rows)]
        contexts.drafting.check()
        ids = [[*written[row], *tokens[row]] for row in rows]
        chosen = self._sampler.choose(logits, ids, [dice[row] for row in rows])
        for row, token in zip(rows, chosen, strict=True):
            self._proposed[row].append(token)

    def _goes_on(self, draft: Sequence[Step], token: int, longest: int) -> bool:
        return len(draft) < longest and token not in self._ensemble.main_model.vocabulary.end_of_text

    def _length(self) -> int:
        """The draft length that costs least for each token that is likely to come out of it."""
        self._steps += 1
        costs = [self._cost(length) for length in range(self._ensemble.draft_tokens + 1)]
        best = min(range(len(costs)), key=costs.__getitem__)
        return max(best, 1) if self._steps % _PROBE == 0 else best

    def _cost(self, length: int) -> float:
        """Weights read for each token: d drafted tokens are likely to give 1 + a + ... + a^d, at an agreement of a."""
        tokens = sum(self._agreement**place for place in range(length + 1))
        drafted = length if self._ensemble.draft_model else length + 1
        return (drafted * self._draft_cost + self._step_cost) / tokens


def _copy(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())
