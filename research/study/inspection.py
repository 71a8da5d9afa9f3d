"""Measures of two members alone that predict whether they gain by fusion.

Spearman's rank correlation, over ordered pairs, of each measure on the development questions with the gain of
``fusion="surface"`` on the test questions. The two orders of a pair share nearly everything, so the bootstrap draws
pairs, not orders; pairs share members, so its intervals are rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import torch

from deepen_llm.demo.measure import MAX_NEW_TOKENS, conversation
from deepen_llm.diagnostics.anchor_comparison import compare_anchors
from deepen_llm.diagnostics.comparison import one_to_one
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.fusion import Surface
from deepen_llm.tuning.answered import MemberAnswers, ask
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.overlap import surest
from research.study.intervals import BootstrapInterval, rank_correlation
from research.study.lab import Lab, Setting
from research.study.tables import Table


@dataclass(frozen=True)
class Pair:
    """A main model and another member: their answers alone, and what their vocabularies have in common."""

    main: MemberAnswers
    other: MemberAnswers
    one_to_one: float
    anchors: float
    consistency: float

    @property
    def ranked(self) -> tuple[MemberAnswers, MemberAnswers]:
        """The better one, and the other one; of equals the main model first."""
        return (self.main, self.other) if self.main.share >= self.other.share else (self.other, self.main)


def _recovered(first: MemberAnswers, second: MemberAnswers) -> float:
    return float(torch.tensor(second.right)[~torch.tensor(first.right)].double().mean())


def _correlated(pair: Pair) -> float:
    return float(torch.corrcoef(torch.tensor([pair.main.right, pair.other.right]).double())[0, 1])


def _gain(first: MemberAnswers, second: MemberAnswers) -> float:
    return float(torch.tensor(surest([first, second])).double().mean()) - first.share


MEASURES: dict[str, Callable[[Pair], float]] = {
    "gain of the surest one's answers over the main model": lambda pair: _gain(pair.main, pair.other),
    "gain of the surest one's answers over the better one": lambda pair: _gain(*pair.ranked),
    "share of the main model's errors that the other answers right": lambda pair: _recovered(pair.main, pair.other),
    "share of the better one's errors that the other answers right": lambda pair: _recovered(*pair.ranked),
    "correlation of errors": _correlated,
    "lead of the other over the main model": lambda pair: pair.other.share - pair.main.share,
    "lead of the better one": lambda pair: abs(pair.other.share - pair.main.share),
    "the other's mean probability of its wrong answers": lambda pair: pair.other.sureness(right=False) or 0.0,
    "share of the other's tokens that map one to one": lambda pair: pair.one_to_one,
    "share of the smaller vocabulary that is anchors": lambda pair: pair.anchors,
    "consistency of anchors above chance": lambda pair: pair.consistency,
}
"""The measures, by their labels in the table."""

KEYS = ("over_main", "over_better")
HEADS = ("with the gain over the main model", "over the better one")


def inspection(lab: Lab, names: Sequence[str]) -> Table:
    """The correlation of each measure with the gains over the main model and over the better member."""
    members = [lab.member(name) for name in names]
    examples = [
        Example(messages=conversation(one.question), references=(one.question.answer,)) for one in lab.asked["dev"]
    ]
    answered = ask(members, examples, generation=GenerationOptions(max_new_tokens=MAX_NEW_TOKENS), batch_size=60)
    orders = [order for two in combinations(names, 2) for order in permutations(two)]
    pairs = [_pair(lab, answered, *order) for order in orders]
    gains = torch.tensor([_gains(lab, *order) for order in orders], dtype=torch.float64)  # [pairs, 2]
    found = {label: torch.tensor([measure(one) for one in pairs]) for label, measure in MEASURES.items()}
    rows = [
        {"label": label}
        | {key: _rounded(rank_correlation(values, gain)) for key, gain in zip(KEYS, gains.T, strict=True)}
        for label, values in found.items()
    ]
    off = 100 * float((found[list(MEASURES)[1]] - gains[:, 1]).abs().mean())
    title = f"What foretells gain: rank correlations over {len(pairs)} pairs (the second row is {off:.1f} points off)"
    return {"title": title, "columns": dict(zip(HEADS, KEYS, strict=True)), "rows": rows}


def _pair(lab: Lab, answered: dict[str, MemberAnswers], main: str, other: str) -> Pair:
    members = [lab.member(main), lab.member(other)]
    (found,) = compare_anchors(members, sample=2)
    mapped, smaller = one_to_one(members[1], members[0]), min(one.vocabulary.tokenizer_size for one in members)
    above = (found.consistency.mean - found.consistency.chance) / (1 - found.consistency.chance)
    return Pair(answered[main], answered[other], mapped, found.anchors / smaller, above)


def _gains(lab: Lab, main: str, other: str) -> tuple[float, float]:
    fused = lab.outcome(Setting((main, other), main, Surface()), "once").rank[0]
    alone = [lab.alone(name, "once").rank[0] for name in (main, other)]
    return fused - alone[0], fused - max(alone)


def _rounded(given: BootstrapInterval) -> list[float]:
    return [round(one, 2) for one in given]
