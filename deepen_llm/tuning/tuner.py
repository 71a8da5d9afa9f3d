"""The tuning itself: members alone, best first together, a search over settings, and an honest estimate."""

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

_FEW = 30  # held-out examples below which a bootstrap alone is too sure


@dataclass(frozen=True)
class Progress:
    """How far a tuning has come.

    Attributes:
        stage: What is being done.
        done: Ensembles tried so far.
        total: Ensembles that will be tried, at most.
        best: The best mean score so far.
    """

    stage: str
    done: int
    total: int
    best: float


class Tuner:
    """Tries candidates on the search part of the examples, and judges the best one on the held-out part.

    Args:
        members: Members, recorded.
        examples: The development set.
        measure: How good an answer is.
        space: The settings to choose from.
        common: What all candidates share: `EnsembleLLM`'s arguments beside those of `Candidate`.
        trials: How many settings the search proposes.
        held_out: The share of the examples that is held out.
        seed: Equal seeds give equal results.
        journal: What was found before.
        tell: Is told of progress.
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
        tell: Callable[[Progress], None],
    ) -> None:
        self._members, self._measure, self._space, self._common = members, measure, space, common
        self._trials, self._seed, self._journal, self._tell = trials, seed, journal, tell
        self.parts: dict[Part, list[Example]] = _split(examples, held_out, seed)
        self.tried: list[Scored] = []
        self.unusable: list[str] = []
        count = len(members)
        self._done, self._total = 0, trials + self._first_count(range(2, count + 1))
        self._best, self._stage = 0.0, ""

    def alone(self) -> list[float]:
        """Every member's own score."""
        found = []
        for i, member in enumerate(self._members):
            self._tell(Progress(f"{member.name} alone", self._done, self._total, self._best))
            found.append(fmean(self.scores(Candidate.alone(i))))
        return found

    def grow(self, alone: Sequence[float]) -> tuple[list[Scored], Candidate]:
        """Add members, best first; one that does not help is left out, and the next one is tried.

        A member helps where the mean score rises by more than the rise's standard error.

        Returns:
            The best first settings of each set that was tried, in turn, and those to search on from: of the last set
            that its last member helped, or of the best pair.

        Raises:
            ConfigError: No two members can be fused.
        """
        order = sorted(range(len(alone)), key=lambda i: -alone[i])
        growth = [Scored(Candidate.alone(order[0]), alone[order[0]])]
        kept = growth[0].candidate
        for member in order[1:]:
            members = [*kept.members, member]
            self._stage = f"{len(members)} members"
            if found := self._first_settings(members, alone):
                growth.append(found)
                kept = found.candidate if self.helps(found.candidate, kept) else kept
        if len(growth) == 1:
            raise ConfigError(f"no two members can be fused: {self.unusable[-1]}", hint="tune other members together")
        self._total = self._done + self._trials
        best = max(growth[1:], key=lambda one: one.score).candidate
        return growth, kept if len(kept.members) > 1 else best

    def helps(self, candidate: Candidate, other: Candidate) -> bool:
        """Whether a candidate scores higher than another by more than the difference's standard error."""
        ours, theirs = self.scores(candidate), self.scores(other)
        return fmean(ours) - fmean(theirs) > standard_error(ours, theirs)

    def search(self, members: Sequence[int], alone: Sequence[float], start: Candidate) -> Scored:
        """Let Optuna propose settings of some members; the best of all that was tried of them, the first of equals."""
        optuna = require("optuna", "tune")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=self._seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.enqueue_trial(self._space.proposal(start))
        self._stage = "search"
        for _ in range(self._trials):
            trial = study.ask()
            found = self._try(self._space.propose(trial, members, alone))
            study.tell(trial, found.score if found else 0.0)
        among = [one for one in self.tried if set(one.candidate.members) <= set(members)]
        return max((one for one in among if len(one.candidate.members) > 1), key=lambda one: one.score)

    def judge(self, best: Candidate, single: Candidate) -> tuple[Estimate, Verdict]:
        """Compare the best ensemble with the best member alone where nothing was chosen."""
        self._stage = "held-out examples"
        chosen = self.helps(best, single)
        ours, theirs = self.scores(best, "held_out"), self.scores(single, "held_out")
        gain = gain_interval(ours, theirs)
        needed = examples_needed(ours, theirs)
        estimate = Estimate(score_interval(ours), score_interval(theirs), gain, len(ours), needed)
        if not chosen or gain.value <= 0:
            return estimate, "alone"
        sure = gain.low > 0 and (len(ours) >= _FEW or sign_test(ours, theirs) < 0.05)
        return estimate, "ensemble" if sure else "unclear"

    def build(self, candidate: Candidate) -> EnsembleLLM:
        """The candidate's ensemble, of recorded members."""
        members, settings = [self._members[i] for i in candidate.members], candidate.within(self._common)
        return EnsembleLLM(members, **settings | {"generation": read_by(settings["generation"], members)})

    def smallest_vocabulary(self, candidate: Candidate) -> int:
        """The fewest tokens that a member of a candidate has."""
        return min(self._members[i].vocabulary.tokenizer_size for i in candidate.members)

    def scores(self, candidate: Candidate, part: Part = "search") -> list[float]:
        """A candidate's scores, from the journal where they are known."""
        return self._kept(
            f"{part} {candidate.key}", lambda: scores(self.build(candidate), self.parts[part], self._measure)
        )

    def loss(self, candidate: Candidate) -> float | None:
        """The mean of `losses` on the examples that settings are chosen on; None where a right answer does not fit."""
        try:
            return fmean(
                self._kept(f"loss {candidate.key}", lambda: losses(self.build(candidate), self.parts["search"]))
            )
        except DeepenError as error:
            self.unusable.append(f"loss of {candidate.key}: {error.message}")
            return None

    def confidences(self, candidate: Candidate) -> list[float]:
        """See `confidences`, for the held-out examples."""
        return self._kept(
            f"confidence {candidate.key}", lambda: confidences(self.build(candidate), self.parts["held_out"])
        )

    def _kept(self, key: str, compute: Callable[[], list[float]]) -> list[float]:
        found = self._journal.find(key)
        if found is None:
            found = compute()
            self._journal.keep(key, found)
        return found

    def _first_count(self, sizes: Iterable[int]) -> int:
        """How many first settings sets of these sizes have."""
        adapted = "adapt" in self._space.weights
        return sum(len(list(self._space.start(range(size)))) + adapted for size in sizes)

    def _first_settings(self, members: Sequence[int], alone: Sequence[float]) -> Scored | None:
        """Each method as it stands, with each main model; the best of them with weights by score, too.

        None where no method can be used.
        """
        tried = [found for candidate in self._space.start(members) if (found := self._try(candidate))]
        if not tried:
            return None
        best = max(tried, key=lambda one: one.score)
        if "adapt" in self._space.weights:
            old = best.candidate
            weights = adapt(members, alone)
            adapted = self._try(Candidate(old.members, old.main, old.fusion, weights, old.gate))
            best = max(best, adapted or best, key=lambda one: one.score)
        return best

    def attempt(self, candidate: Candidate, stage: str) -> float | None:
        """A candidate's mean score; None where it cannot be used."""
        self._tell(Progress(stage, self._done, self._total, self._best))
        try:
            found = fmean(self.scores(candidate))
        except DeepenError as error:
            self.unusable.append(f"{candidate.key}: {error.message}")
            return None
        self._best = max(self._best, found)
        return found

    def _try(self, candidate: Candidate) -> Scored | None:
        """Score a candidate; None where it cannot be used."""
        found = self.attempt(candidate, self._stage)
        self._done += 1
        if found is None:
            return None
        self.tried.append(Scored(candidate, found))
        return self.tried[-1]


def _split(examples: Sequence[Example], held_out: float, seed: int) -> dict[Part, list[Example]]:
    """Draw the held-out part; both keep the examples' order."""
    count = max(1, round(held_out * len(examples)))
    held = set(random.Random(seed).sample(range(len(examples)), count))  # noqa: S311 - a draw, not a secret
    return {
        "search": [one for i, one in enumerate(examples) if i not in held],
        "held_out": [one for i, one in enumerate(examples) if i in held],
    }
