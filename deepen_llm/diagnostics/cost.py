"""What an ensemble's tokens cost beside its members' own: the measurement of ``deepen bench``.

The floor for one token is every member's own one-token forward, one after the other. What an ensemble takes beyond it
is fusion, other tokenizers and bookkeeping; drafts and batches share forwards, and can get below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from deepen_llm.diagnostics.floor import forward_seconds, generate_alone
from deepen_llm.diagnostics.timing import Ratio, Seconds, seconds
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember

PROMPTS = (
    "Once upon a time there was a",
    "The history of the city begins in",
    "To make good bread, you first need",
    "Most people who learn a language",
    "In the middle of the night, the",
    "The results of the experiment show that",
    "Every morning before work she",
    "When the train arrived at the station,",
)
"""Beginnings of texts; a batch that is larger has them several times."""

Kind = Literal["alone", "floor", "ensemble"]


@dataclass(frozen=True)
class Cost:
    """What one way to decode costs.

    Attributes:
        name: A member's name, ``floor``, or how the ensemble decoded.
        kind: Whether a member generated alone, members made their forwards alone, or an ensemble decoded.
        tokens: Tokens of one run.
        rate: Tokens per second.
        over_floor: Time of a token over the floor's in the same turn.
    """

    name: str
    kind: Kind
    tokens: int
    rate: Ratio
    over_floor: Ratio

    def record(self) -> dict[str, Any]:
        """The same for ``json.dumps``."""
        return asdict(self)


class CostMeasurement:
    """Measures an ensemble and its members, each in turn.

    Args:
        llm: The ensemble, measured with its own settings and generation options, but greedily and up to ``tokens``.
        prompts: Texts to continue: the first alone, all of them, over and over, as a batch.
        tokens: The most tokens of each answer; an ensemble may end one before.
        batch: Texts of the batch.
        draft_tokens: The most tokens that are drafted ahead, where drafts are measured.

    Raises:
        ConfigError: A setting cannot be used.
    """

    def __init__(
        self,
        llm: EnsembleLLM,
        prompts: Sequence[str] = PROMPTS,
        *,
        tokens: int = 64,
        batch: int = 8,
        draft_tokens: int = 4,
    ) -> None:
        self._tokens = tokens
        options: dict[str, Any] = {
            "max_new_tokens": tokens,
            "temperature": 0.0,
            "n": 1,
            "logprobs": None,
            "trace": False,
        }
        members, first = llm.ensemble.members, prompts[0]
        plain = _changed(llm, draft_tokens=0, batch_size=batch)
        drafting = _changed(llm, draft_tokens=draft_tokens)
        self._floor = _Side("floor", "floor", partial(forward_seconds, members, first, tokens))
        self._sides = [
            self._floor,
            *(
                _Side(one.name, "alone", _PerToken(partial(generate_alone, one, first, tokens)))
                for one in members
                if isinstance(one, LocalMember)
            ),
            _decoding("ensemble", plain, [first], options),
            _decoding(f"with drafts of {draft_tokens}", drafting, [first], options),
            _decoding(f"a batch of {batch}", plain, [prompts[i % len(prompts)] for i in range(batch)], options),
        ]

    def run(self, repeats: int, tell: Callable[[str], None] = lambda _: None) -> None:
        """Run everything once to warm up, and then so often; what an interruption leaves is kept.

        Args:
            repeats: How often everything is measured.
            tell: Called with a line that says what is about to run.
        """
        for side in self._sides:
            tell(f"warming up: {side.name}")
            side.run()
        for repeat in range(repeats):
            for side in self._sides:
                tell(f"{side.name}, {repeat + 1} of {repeats}")
                side.taken.append(side.run())

    @property
    def costs(self) -> list[Cost]:
        """What has been measured so far: members alone, the floor, the ensemble."""
        order: list[Kind] = ["alone", "floor", "ensemble"]
        measured = [side for side in self._sides if side.taken]
        return [self._cost(side) for side in sorted(measured, key=lambda side: order.index(side.kind))]

    def _cost(self, side: _Side) -> Cost:
        return Cost(
            name=side.name,
            kind=side.kind,
            tokens=side.run.tokens if isinstance(side.run, _PerToken) else self._tokens,
            rate=Ratio.of([1 / taken for taken in side.taken]),
            over_floor=Ratio.between(side.taken, self._floor.taken[: len(side.taken)]),
        )


@dataclass
class _Side:
    """One side of the comparison: how to run it, and the seconds of a token in each turn."""

    name: str
    kind: Kind
    run: Callable[[], float]
    taken: Seconds = field(default_factory=list)


class _PerToken:
    """Runs what makes tokens and says how many; tells the seconds of each."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work, self.tokens = work, 0

    def __call__(self) -> float:
        def run() -> None:
            self.tokens = self._work()

        return seconds(run) / self.tokens


def _decoding(name: str, llm: EnsembleLLM, prompts: Sequence[str], options: Mapping[str, Any]) -> _Side:
    return _Side(name, "ensemble", _PerToken(partial(_generate, llm, prompts, options)))


def _generate(llm: EnsembleLLM, prompts: Sequence[str], options: Mapping[str, Any]) -> int:
    return sum(len(output.tokens) for output in llm.generate(list(prompts), **options))


def _changed(llm: EnsembleLLM, **settings: Any) -> EnsembleLLM:
    """The same members with other settings; a draft model only where there are drafts."""
    options = {**dict(llm.settings), **settings}
    return type(llm)(llm.members, draft_model=llm.draft_model if options["draft_tokens"] else None, **options)
