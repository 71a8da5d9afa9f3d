"""Measurement of long answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepen_llm.demo.batches import answer_all
from deepen_llm.demo.long_answers import NAMES
from deepen_llm.demo.long_answers.checker import Verdict, check
from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.world import the_world
from deepen_llm.demo.settings import BATCH
from deepen_llm.fusion import STARTING_METHODS
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member

MAIN = "egeria"
"""The main model of the ensembles: the member with the smallest vocabulary."""

METHODS = STARTING_METHODS
"""The fusion methods, each with the options that it comes with."""

QUESTIONS = 60
"""The number of test questions in the demonstration."""

MAX_TOKENS = 240
"""The most tokens of an answer, far more than any right answer has."""


@dataclass(frozen=True)
class ChainResult:
    """The answers of one member or ensemble.

    Attributes:
        chains: The questions.
        texts: The answer to each.
        verdicts: The verdict on each.
        tokens: The length of each, in tokens of the main model.
        seconds: The duration.
    """

    chains: tuple[Chain, ...]
    texts: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    tokens: tuple[int, ...]
    seconds: float

    @property
    def right(self) -> list[bool]:
        """Whether each answer is right."""
        return [verdict.right for verdict in self.verdicts]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.chains)

    @property
    def derailed(self) -> float:
        """The share of derailed answers."""
        return sum(verdict.derailed for verdict in self.verdicts) / len(self.chains)

    @property
    def length(self) -> float:
        """The mean length of the answers, in tokens of the main model."""
        return sum(self.tokens) / len(self.chains)


def systems(members: Sequence[Member]) -> dict[str, EnsembleLLM]:
    """Make an ensemble of every member alone, then one of all members per method, by name.

    Args:
        members: The members, in the order of `NAMES`.
    """
    alone = {member.name: EnsembleLLM([member], batch_size=BATCH) for member in members}
    main = NAMES.index(MAIN)
    return alone | {
        method: EnsembleLLM(members, main_model=main, fusion=method, batch_size=BATCH) for method in METHODS
    }


def measure(llm: EnsembleLLM, chains: Sequence[Chain], advance: Callable[[int], None] = lambda _: None) -> ChainResult:
    """Answer all questions greedily, without a grammar.

    Args:
        llm: The ensemble.
        chains: The questions.
        advance: Called after every batch with its number of questions.
    """
    prompts = [chain.prompt for chain in chains]
    outputs, seconds = answer_all(prompts, lambda batch: llm.generate(batch, max_new_tokens=MAX_TOKENS), advance)
    world = the_world()
    return ChainResult(
        chains=tuple(chains),
        texts=tuple(output.text for output in outputs),
        verdicts=tuple(check(chain, output.text, world) for chain, output in zip(chains, outputs, strict=True)),
        tokens=tuple(output.usage.completion_tokens for output in outputs),
        seconds=seconds,
    )
