"""Who is asked for long answers, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepen_llm.demo.long_answers import NAMES
from deepen_llm.demo.long_answers.checker import Verdict, check
from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.world import the_world
from deepen_llm.demo.settings import BATCH
from deepen_llm.fusion import STARTING_METHODS
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member

MAIN = "egeria"
"""The ensembles' main model: the one of the smallest vocabulary."""

METHODS = STARTING_METHODS
"""The fusion methods, each with the options that it comes with."""

QUESTIONS = 60
"""How many test questions the demonstration asks."""

MAX_TOKENS = 240
"""The longest answer in tokens of a main model: no right answer comes near it."""


@dataclass(frozen=True)
class Result:
    """How one member or ensemble answered.

    Attributes:
        chains: What was asked.
        texts: What it answered to each.
        verdicts: What became of the answers.
        tokens: Their lengths, in tokens of the main model.
        seconds: Time that it took.
    """

    chains: tuple[Chain, ...]
    texts: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    tokens: tuple[int, ...]
    seconds: float

    @property
    def right(self) -> list[bool]:
        """For each question, whether every step of the answer is true and in order."""
        return [verdict.right for verdict in self.verdicts]

    @property
    def accuracy(self) -> float:
        """Share of the questions answered rightly."""
        return sum(self.right) / len(self.chains)

    @property
    def derailed(self) -> float:
        """Share of the answers that derailed."""
        return sum(verdict.derailed for verdict in self.verdicts) / len(self.chains)

    @property
    def length(self) -> float:
        """Mean length of the answers, in tokens of the main model."""
        return sum(self.tokens) / len(self.chains)


def systems(members: Sequence[Member]) -> dict[str, EnsembleLLM]:
    """Every member alone, then every method with all members, by name.

    Args:
        members: The members, in the order of `NAMES`.
    """
    alone = {member.name: EnsembleLLM([member], batch_size=BATCH) for member in members}
    main = NAMES.index(MAIN)
    return alone | {
        method: EnsembleLLM(members, main_model=main, fusion=method, batch_size=BATCH) for method in METHODS
    }


def measure(llm: EnsembleLLM, chains: Sequence[Chain], advance: Callable[[int], None] = lambda _: None) -> Result:
    """Ask for all answers, decoded freely and greedily.

    Args:
        llm: Who is asked.
        chains: What is asked.
        advance: Told after every batch how many questions it held.
    """
    texts, tokens, started = list[str](), list[int](), time.perf_counter()
    for first in range(0, len(chains), BATCH):
        batch = [chain.prompt for chain in chains[first : first + BATCH]]
        outputs = llm.generate(batch, max_new_tokens=MAX_TOKENS)
        texts += [output.text for output in outputs]
        tokens += [output.usage.completion_tokens for output in outputs]
        advance(len(batch))
    seconds, world = time.perf_counter() - started, the_world()
    verdicts = tuple(check(chain, text, world) for chain, text in zip(chains, texts, strict=True))
    return Result(tuple(chains), tuple(texts), verdicts, tuple(tokens), seconds)
