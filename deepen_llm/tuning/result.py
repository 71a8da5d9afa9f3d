"""Results of a tuning: the chosen ensemble, its expected score, and whether fusing helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepen_llm.tuning.intervals import Interval
from deepen_llm.tuning.space import Candidate

if TYPE_CHECKING:
    from deepen_llm.llm import EnsembleLLM

Verdict = Literal["ensemble", "alone", "unclear"]
"""Fuse; use the best member alone; the ensemble's higher score is not significant."""


@dataclass(frozen=True)
class Scored:
    """A candidate and its mean score on the examples that settings are chosen on.

    Attributes:
        candidate: The candidate.
        score: From 0 to 1.
    """

    candidate: Candidate
    score: float


@dataclass(frozen=True)
class Estimate:
    """Scores on held-out examples, each with a 95 % interval.

    Attributes:
        best: The best ensemble's score.
        single: The score of the member that is best alone on the search examples.
        gain: The ensemble's score minus that member's, on the same examples.
        examples: The number of held-out examples.
        needed: An estimate of the examples that detect this gain; None without a gain.
    """

    best: Interval
    single: Interval
    gain: Interval
    examples: int
    needed: int | None


@dataclass(frozen=True)
class Point:
    """One value of an option, all else as in the best ensemble that has the option.

    Attributes:
        value: The option's value.
        score: From 0 to 1, on the examples that settings are chosen on.
        loss: Mean negative log-probability of a right answer, in nats; None where it was not asked for.
    """

    value: float
    score: float
    loss: float | None = None


@dataclass(frozen=True)
class Sweeps:
    """What pictures of a tuning are drawn from.

    Attributes:
        options: Points by the option's name.
        confidence: For each held-out example, the best ensemble's probability of its own answer.
        right: For each of them, that answer's score.
    """

    options: dict[str, tuple[Point, ...]]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """What `deepen_llm.tune` found.

    Attributes:
        llm: The ensemble to use: the best one, or the best member alone if fusing does not help.
        verdict: Whether fusing helps.
        estimate: Expected scores, from held-out examples.
        names: The names of all members.
        metric: The name of the metric.
        chosen_on: The number of examples that settings were chosen on.
        single: The index of the member that scores best alone.
        alone: The score of every member alone on these examples.
        growth: The best start settings of each set of members that was tried; the last member was added.
        trials: All candidates that were tried.
        best: The best ensemble.
        unusable: Settings that raised an error, each with the reason.
        sweeps: Scores over single options, and the reliability of probabilities; None if not requested.
        left_out: The positions of examples that were left out because they are too long.
    """

    llm: EnsembleLLM
    verdict: Verdict
    estimate: Estimate
    names: tuple[str, ...]
    metric: str
    chosen_on: int
    single: int
    alone: tuple[float, ...]
    growth: tuple[Scored, ...] = field(repr=False)
    trials: tuple[Scored, ...] = field(repr=False)
    best: Scored
    unusable: tuple[str, ...] = field(default=(), repr=False)
    sweeps: Sweeps | None = field(default=None, repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def expected(self) -> Interval:
        """The expected score of `llm`, from held-out examples."""
        return self.estimate.single if self.verdict == "alone" else self.estimate.best

    @property
    def advice(self) -> str:
        """The verdict as a sentence."""
        name, gain = self.names[self.single], self.estimate.gain
        points = f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        if self.verdict == "ensemble":
            return f"Use the ensemble: {points} over {name}, the best member alone."
        if self.verdict == "alone":
            return f"Use {name} alone: no ensemble of these members does better ({points} for the best one)."
        more = f"; about {self.estimate.needed} held-out examples would tell" if self.estimate.needed else ""
        return f"Unclear: the ensemble is {points} over {name} alone, which chance could do{more}."

    def save_config(self, file: str | Path) -> None:
        """Write the configuration of `llm` as a YAML file.

        Raises:
            ConfigError: It has no configuration (`EnsembleLLM.config`), or the file cannot be written.
        """
        self.llm.save_config(file)

    def record(self) -> dict[str, Any]:
        """Convert the result to plain values for JSON."""
        estimate = self.estimate
        return {
            "verdict": self.verdict,
            "advice": self.advice,
            "metric": self.metric,
            "members": [{"name": name, "score": score} for name, score in zip(self.names, self.alone, strict=True)],
            "single": self.names[self.single],
            "best": _described(self.best, self.names),
            "chosen_on": self.chosen_on,
            "held_out": estimate.examples,
            "expected": vars(estimate.best),
            "expected_alone": vars(estimate.single),
            "gain": vars(estimate.gain),
            "examples_needed": estimate.needed,
            "growth": [_described(scored, self.names) for scored in self.growth],
            "trials": [_described(scored, self.names) for scored in self.trials],
            "unusable": list(self.unusable),
            "left_out": list(self.left_out),
            "sweeps": asdict(self.sweeps) if self.sweeps else None,
        }


def _described(scored: Scored, names: Sequence[str]) -> dict[str, Any]:
    candidate = scored.candidate
    return {
        "score": scored.score,
        "members": [names[i] for i in candidate.members],
        "main_model": names[candidate.main],
        "fusion": dict(candidate.fusion),
        "weights": candidate.weights,
        "gate": candidate.gate,
    }
