"""The tuner: scores members alone, adds them best first, searches settings, and judges on held-out examples."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.extras import require
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.requests.prompts import read_by
from deepen_llm.tuning.confidence import confidences, losses
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.intervals import examples_needed, gain_interval, score_interval, sign_test, standard_error
from deepen_llm.tuning.journal import Journal
from deepen_llm.tuning.metrics import Measure
from deepen_llm.tuning.result import Estimate, Scored, Verdict
from deepen_llm.tuning.scoring import scores
from deepen_llm.tuning.space import Candidate, SearchSpace, adapt

Part = Literal["search", "held_out"]

_FEW = 30  # held-out examples below which a bootstrap alone is too narrow


@dataclass(frozen=True)
class Progress:
    """The progress of a tuning.

    Attributes:
        stage: The current stage.
        done: Ensembles tried so far.
        total: The most ensembles to try.
        best: The best mean score so far.
    """

    stage: str
    done: int
    total: int
    best: float


class Tuner:
    """Tries candidates on the search part of the examples, and judges the best one on the held-out part.

    Args:
        members: The recorded members.
        examples: The development set.
        measure: The metric of answers.
        space: The settings to choose from.
        common: The arguments of `EnsembleLLM` that all candidates share.
        trials: The number of settings that the search proposes.
        held_out: The share of the examples that is held out.
        seed: Equal seeds give equal results.
        journal: Scores of an earlier run.
        on_progress: Called before each trial.
    """

    def __init__(
        self,
        members: Sequence[Member],
        examples: Sequence[Example],
        measure: Measure,
        space: SearchSpace,
        common: dict[str, Any],
        *,
        trials: int,
        held_out: float,
        seed: int,
        journal: Journal,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._members = members
        self._measure = measure
        self._space = space
        self._common = common
        self._trials = trials
        self._seed = seed
        self._journal = journal
        self._on_progress = on_progress
        self.parts: dict[Part, list[Example]] = _split(examples, held_out, seed)
        self.tried: list[Scored] = []
        self.unusable: list[str] = []
        count = len(members)
        self._done = 0
        self._total = trials + self._first_count(range(2, count + 1))
        self._best = 0.0
        self._stage = ""

    def alone(self) -> list[float]:
        """Score every member alone."""
        scored = []
        for i, member in enumerate(self._members):
            self._on_progress(Progress(f"{member.name} alone", self._done, self._total, self._best))
            scored.append(fmean(self.scores(Candidate.alone(i))))
        return scored

    def grow(self, alone: Sequence[float]) -> tuple[list[Scored], Candidate]:
        """Add members best first; leave out a member that does not help.

        A member helps if the mean score increases by more than the standard error of the increase.

        Returns:
            The best start settings of each set that was tried, in order, and the candidate to start the search from:
            of the last set whose last member helped, or of the best pair.

        Raises:
            ConfigError: No two members can be fused.
        """
        order = sorted(range(len(alone)), key=lambda i: -alone[i])
        growth = [Scored(Candidate.alone(order[0]), alone[order[0]])]
        kept = growth[0].candidate
        for member in order[1:]:
            members = [*kept.members, member]
            self._stage = f"{len(members)} members"
            if first := self._first_settings(members, alone):
                growth.append(first)
                kept = first.candidate if self.helps(first.candidate, kept) else kept
        if len(growth) == 1:
            raise ConfigError(f"no two members can be fused: {self.unusable[-1]}", hint="tune other members together")
        self._total = self._done + self._trials
        best = max(growth[1:], key=lambda scored: scored.score).candidate
        return growth, kept if len(kept.members) > 1 else best

    def helps(self, candidate: Candidate, other: Candidate) -> bool:
        """Whether a candidate scores higher than another by more than the difference's standard error."""
        ours, theirs = self.scores(candidate), self.scores(other)
        return fmean(ours) - fmean(theirs) > standard_error(ours, theirs)

    def search(self, members: Sequence[int], alone: Sequence[float], start: Candidate) -> Scored:
        """Search settings of some members by Optuna; return the best candidate tried with them, the first of equals."""
        optuna = require("optuna", "tune")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=self._seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.enqueue_trial(self._space.proposal(start))
        self._stage = "search"
        for _ in range(self._trials):
            trial = study.ask()
            scored = self._try(self._space.propose(trial, members, alone))
            study.tell(trial, scored.score if scored else 0.0)
        subsets = [scored for scored in self.tried if set(scored.candidate.members) <= set(members)]
        return max((scored for scored in subsets if len(scored.candidate.members) > 1), key=lambda scored: scored.score)

    def judge(self, best: Candidate, single: Candidate) -> tuple[Estimate, Verdict]:
        """Compare the best ensemble with the best member alone on the held-out examples."""
        self._stage = "held-out examples"
        chosen = self.helps(best, single)
        ours, theirs = self.scores(best, "held_out"), self.scores(single, "held_out")
        gain = gain_interval(ours, theirs)
        needed = examples_needed(ours, theirs)
        estimate = Estimate(
            best=score_interval(ours),
            single=score_interval(theirs),
            gain=gain,
            examples=len(ours),
            needed=needed,
        )
        if not chosen or gain.value <= 0:
            return estimate, "alone"
        sure = gain.low > 0 and (len(ours) >= _FEW or sign_test(ours, theirs) < 0.05)
        return estimate, "ensemble" if sure else "unclear"

    def build(self, candidate: Candidate) -> EnsembleLLM:
        """Make the candidate's ensemble of recorded members."""
        members = [self._members[i] for i in candidate.members]
        settings = candidate.within(self._common)
        return EnsembleLLM(members, **settings | {"generation": read_by(settings["generation"], members)})

    def smallest_vocabulary(self, candidate: Candidate) -> int:
        """The smallest vocabulary size among a candidate's members."""
        return min(self._members[i].vocabulary.tokenizer_size for i in candidate.members)

    def scores(self, candidate: Candidate, part: Part = "search") -> list[float]:
        """Score a candidate, or read its scores from the journal."""
        return self._kept(
            f"{part} {candidate.key}", lambda: scores(self.build(candidate), self.parts[part], self._measure)
        )

    def loss(self, candidate: Candidate) -> float | None:
        """Compute the mean loss on the search examples; None if a right answer does not fit a context window."""
        try:
            return fmean(
                self._kept(f"loss {candidate.key}", lambda: losses(self.build(candidate), self.parts["search"]))
            )
        except DeepenError as error:
            self.unusable.append(f"loss of {candidate.key}: {error.message}")
            return None

    def confidences(self, candidate: Candidate) -> list[float]:
        """Compute the probabilities of answers to the held-out examples."""
        return self._kept(
            f"confidence {candidate.key}", lambda: confidences(self.build(candidate), self.parts["held_out"])
        )

    def _kept(self, key: str, compute: Callable[[], list[float]]) -> list[float]:
        values = self._journal.find(key)
        if values is None:
            values = compute()
            self._journal.keep(key, values)
        return values

    def _first_count(self, sizes: Iterable[int]) -> int:
        """Count the start settings of sets of these sizes."""
        adapted = "adapt" in self._space.weights
        return sum(len(list(self._space.start(range(size)))) + adapted for size in sizes)

    def _first_settings(self, members: Sequence[int], alone: Sequence[float]) -> Scored | None:
        """Try each method with its default options and each main model, and the best of them with weights by score.

        None if no method is usable.
        """
        tried = [scored for candidate in self._space.start(members) if (scored := self._try(candidate))]
        if not tried:
            return None
        best = max(tried, key=lambda scored_candidate: scored_candidate.score)
        if "adapt" in self._space.weights:
            old = best.candidate
            weights = adapt(members, alone)
            adapted = self._try(Candidate(old.members, old.main, old.fusion, weights, old.gate))
            best = max(best, adapted or best, key=lambda scored_candidate: scored_candidate.score)
        return best

    def attempt(self, candidate: Candidate, stage: str) -> float | None:
        """Compute a candidate's mean score; None if it raises an error."""
        self._on_progress(Progress(stage, self._done, self._total, self._best))
        try:
            score = fmean(self.scores(candidate))
        except DeepenError as error:
            self.unusable.append(f"{candidate.key}: {error.message}")
            return None
        self._best = max(self._best, score)
        return score

    def _try(self, candidate: Candidate) -> Scored | None:
        """Score and record a candidate; None if it raises an error."""
        score = self.attempt(candidate, self._stage)
        self._done += 1
        if score is None:
            return None
        self.tried.append(Scored(candidate, score))
        return self.tried[-1]


def _split(examples: Sequence[Example], held_out: float, seed: int) -> dict[Part, list[Example]]:
    """Draw the held-out part; both parts keep the order of the examples."""
    count = max(1, round(held_out * len(examples)))
    held = set(random.Random(seed).sample(range(len(examples)), count))  # noqa: S311 - a draw, not a secret
    return {
        "search": [example for i, example in enumerate(examples) if i not in held],
        "held_out": [example for i, example in enumerate(examples) if i in held],
    }
