"""The tuner: scores members alone, adds them best first, searches settings, and judges on held-out examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.extras import require
from deepen_llm.tuning.evaluator import Evaluator
from deepen_llm.tuning.intervals import examples_needed, gain_interval, score_interval, sign_test, standard_error
from deepen_llm.tuning.result import Estimate, Scored, Verdict
from deepen_llm.tuning.space import Candidate, SearchSpace, adapt

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
        evaluator: Scores candidates.
        space: The settings to choose from.
        trials: The number of settings that the search proposes.
        seed: Equal seeds give equal results.
        on_progress: Called before each trial.

    Attributes:
        evaluator: As given.
        tried: The candidates with their scores, in order.
        unusable: Reasons why candidates were not scored.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        space: SearchSpace,
        *,
        trials: int,
        seed: int,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.evaluator = evaluator
        self._space = space
        self._trials = trials
        self._seed = seed
        self._on_progress = on_progress
        self.tried: list[Scored] = []
        self.unusable: list[str] = []
        self._done = 0
        self._total = trials + self._first_count(range(2, len(evaluator.members) + 1))
        self._best = 0.0
        self._stage = ""

    def alone(self) -> list[float]:
        """Score every member alone."""
        scored = []
        for i, member in enumerate(self.evaluator.members):
            self._on_progress(Progress(f"{member.name} alone", self._done, self._total, self._best))
            scored.append(fmean(self.evaluator.scores(Candidate.alone(i))))
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
        ours, theirs = self.evaluator.scores(candidate), self.evaluator.scores(other)
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
        ours, theirs = self.evaluator.scores(best, "held_out"), self.evaluator.scores(single, "held_out")
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

    def loss(self, candidate: Candidate) -> float | None:
        """Compute the mean loss on the search examples; None if a right answer does not fit a context window."""
        try:
            return fmean(self.evaluator.losses(candidate))
        except DeepenError as error:
            self.unusable.append(f"loss of {candidate.key}: {error.message}")
            return None

    def attempt(self, candidate: Candidate, stage: str) -> float | None:
        """Compute a candidate's mean score; None if it raises an error."""
        self._on_progress(Progress(stage, self._done, self._total, self._best))
        try:
            score = fmean(self.evaluator.scores(candidate))
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
