"""What a tuning found: the ensemble, what it is likely to score, and whether it is worth having."""

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
"""Fuse; take the best member by itself; the ensemble scored higher, but chance could have done it."""


@dataclass(frozen=True)
class Scored:
    """A candidate and its mean score on the examples that settings are chosen on.

    Attributes:
        candidate: What was tried.
        score: From 0 to 1.
    """

    candidate: Candidate
    score: float


@dataclass(frozen=True)
class Estimate:
    """Scores on held-out examples, that nothing was chosen on, each with a 95 % interval.

    Attributes:
        best: The best ensemble's score.
        single: The score of the member that was best alone where settings were chosen.
        gain: The ensemble's score less that member's, on the same examples.
        examples: How many examples were held out.
        needed: About how many would tell such a gain from none; None where there is none.
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
        llm: What to use: the best ensemble, or the best member alone where fusing does not pay.
        verdict: Whether fusing pays.
        estimate: What to expect, from held-out examples.
        names: All members' names.
        metric: The metric's name.
        chosen_on: How many examples settings were chosen on.
        single: Index of the member that scores best alone.
        alone: Every member's own score where settings were chosen.
        growth: The best first settings of each set of members that was tried; the last of its members was new.
        trials: Everything that was tried.
        best: The best ensemble.
        unusable: Settings that were tried and could not be used, each with the reason.
        sweeps: Scores over single options, and how far probabilities can be relied on; None where not asked for.
        left_out: The places in the development set of examples that were too long for a member, and left out.
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
        """What `llm` is likely to score, from held-out examples."""
        return self.estimate.single if self.verdict == "alone" else self.estimate.best

    @property
    def advice(self) -> str:
        """The verdict in words."""
        name, gain = self.names[self.single], self.estimate.gain
        points = f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        if self.verdict == "ensemble":
            return f"Use the ensemble: {points} over {name}, the best member alone."
        if self.verdict == "alone":
            return f"Use {name} alone: no ensemble of these members does better ({points} for the best one)."
        more = f"; about {self.estimate.needed} held-out examples would tell" if self.estimate.needed else ""
        return f"Unclear: the ensemble is {points} over {name} alone, which chance could do{more}."

    def save_config(self, file: str | Path) -> None:
        """Write the YAML file of `llm`, which every front end loads.

        Raises:
            ConfigError: See `EnsembleLLM.config`; or the file cannot be written.
        """
        self.llm.save_config(file)

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
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
            "growth": [_described(one, self.names) for one in self.growth],
            "trials": [_described(one, self.names) for one in self.trials],
            "unusable": list(self.unusable),
            "left_out": list(self.left_out),
            "sweeps": asdict(self.sweeps) if self.sweeps else None,
        }


def _described(one: Scored, names: Sequence[str]) -> dict[str, Any]:
    candidate = one.candidate
    return {
        "score": one.score,
        "members": [names[i] for i in candidate.members],
        "main_model": names[candidate.main],
        "fusion": dict(candidate.fusion),
        "weights": candidate.weights,
        "gate": candidate.gate,
    }
