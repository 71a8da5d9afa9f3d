"""What is tried: whole settings at first, then whatever a search over their options proposes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from deepen_llm.errors import suggestion
from deepen_llm.fusion import DEFAULT, DYNAMIC, METHODS, STARTING_METHODS, adapted_weights, method_class
from deepen_llm.fusion.gate import When
from deepen_llm.fusion.tunable import Tunable, propose
from deepen_llm.options import Options

if TYPE_CHECKING:
    from optuna.trial import Trial

Weighting = Literal["avg", "adapt", "search", "prompt", "entropy", "track"]
"""DEEPEN-Avg; DEEPEN-Adapt, by scores alone; fixed ones that the search finds; by the prompt's likelihood, by the
entropy of each step, or by the text so far (with mixtures alone)."""


class SearchSpace(Options):
    """The settings that `tune` may choose from; a tuple with one value fixes an option.

    Attributes:
        methods: Fusion methods, by name; by default those that say with which options to begin (`FusionMethod.starts`).
        options: Bounds of the methods' own options, or choices, by name, in place of what the methods say
            (`FusionMethod.tunables`). They may be given as arguments of their own: ``SearchSpace(relr=(0.1, 0.3))``.
            An option that is searched only where a space names it, such as ``straddle``, is searched then.
        weights: How members are weighed.
        tau: Bounds of the temperature τ of weights by ``prompt`` or ``entropy``.
        gamma: Bounds of the boldness (gamma) of weights by ``track``.
        horizon: Bounds of their horizon in bytes.
        gates: When to fuse: ``always``, ``unsure``, ``boundary``, ``safe``.
        below: Bounds of the main model's top probability below which it is ``unsure``.
    """

    methods: tuple[str, ...] = Field(STARTING_METHODS, min_length=1)
    options: Mapping[str, tuple[Any, ...]] = {}
    weights: tuple[Weighting, ...] = Field(get_args(Weighting), min_length=1)
    tau: tuple[float, float] = (0.1, 10.0)
    gamma: tuple[float, Annotated[float, Field(le=1)]] = (0.02, 1.0)
    horizon: tuple[float, float] = (20.0, 1000.0)
    gates: tuple[When, ...] = Field(get_args(When), min_length=1)
    below: tuple[float, float] = (0.5, 0.99)

    def __init__(self, **given: Any) -> None:  # of any name, since methods bring options
        super().__init__(**given)

    @model_validator(mode="before")
    @classmethod
    def _options_of_methods(cls, given: Any) -> Any:
        """Move what only a method's option is named like to ``options``."""
        if not isinstance(given, Mapping):
            return given
        own = {name: value for name, value in given.items() if name not in cls.model_fields}
        known = tunable_names()
        if unknown := sorted(set(own) - set(known)):
            raise ValueError(f"unknown option {unknown[0]!r}{suggestion(unknown[0], [*cls.model_fields, *known])}")
        rest = {name: value for name, value in given.items() if name not in own}
        return {**rest, "options": {**rest.get("options", {}), **own}} if own else rest

    @field_validator("tau", "gamma", "horizon", "below")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("bounds are two numbers above 0, the lower one first")
        return value

    @field_validator("methods")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            method_class(name)
        return value

    @model_validator(mode="after")
    def _every_method_is_weighed(self) -> Self:
        for method in self.methods:
            if not self._weighting(method)[1]:
                raise ValueError(
                    f"weights by {' or '.join(self.weights)} are not for {method}, which is no mixture: name other "
                    "weights, too, or leave it out of methods"
                )
        return self

    @model_validator(mode="after")
    def _options_are_usable(self) -> Self:
        for name, given in self.options.items():
            owners = [method for method, kind in METHODS.items() if any(one.name == name for one in kind.tunables)]
            if not owners:
                raise ValueError(f"unknown option {name!r} of a fusion method{suggestion(name, tunable_names())}")
            for method in set(owners) & set(self.methods) or owners:
                for one in METHODS[method].tunables:
                    if one.name == name:
                        one.narrowed(given)
        return self

    def tunables(self, method: str) -> list[Tunable]:
        """What is searched of a method's options."""
        known, named = METHODS[method].tunables, self.options
        narrowed = [one.narrowed(named[one.name]) if one.name in named else one for one in known]
        return [one for one in narrowed if one.searched]

    def start(self, members: Sequence[int]) -> Iterator[Candidate]:
        """Settings to try of every set of members: each method as it begins, with each main model."""
        for method in sorted(self.methods, key=lambda name: name != DEFAULT.method):  # of equals the first is taken
            for options in METHODS[method].starts or ({},):
                for main in members:
                    yield Candidate(tuple(members), main, {"method": method, **options})

    def propose(self, trial: Trial, members: Sequence[int], alone: Sequence[float]) -> Candidate:
        """Settings that Optuna proposes.

        Args:
            trial: Its trial.
            members: Indices of the members that take part.
            alone: Every member's own score.
        """
        main, fusion = trial.suggest_categorical("main_model", list(members)), self._fusion(trial)
        weights = self._weights(trial, members, alone, fusion["method"])
        gate: Any = trial.suggest_categorical("gate", self.gates)
        if gate == "unsure":
            gate = {"when": gate, "below": round(trial.suggest_float("below", *self.below), 3)}
        return Candidate(tuple(members), main, fusion, weights, gate)

    def proposal(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate of `start` as Optuna would propose it, as far as this space holds it."""
        method, values = candidate.fusion["method"], _values(candidate.fusion)
        weighting, weights = self._weighting(method)
        named: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "method": (method, self.methods),
            weighting: ("avg" if candidate.weights is None else "adapt", weights),
            "gate": (candidate.gate, self.gates),
        }
        held = {name: value for name, (value, among) in named.items() if value in among}
        options = {self._parameter(one): one.held(values) for one in self.tunables(method)}
        chosen = {name: value for name, value in options.items() if value is not None}
        return {"main_model": candidate.main, **held, **chosen}

    def _fusion(self, trial: Trial) -> dict[str, Any]:
        method = trial.suggest_categorical("method", self.methods)
        return {
            "method": method,
            **propose(self.tunables(method), trial, _values({"method": method}), self._parameter),
        }

    def _parameter(self, one: Tunable) -> str:
        """What trials know an option as: of methods that propose an option from the same values, the first one's."""
        owners = (
            f"{method}.{one.name}"
            for method in self.methods
            for other in self.tunables(method)
            if (other.name, other.distribution) == (one.name, one.distribution)
        )
        return next(owners)

    def _weighting(self, method: str) -> tuple[str, tuple[Weighting, ...]]:
        """The weights that a method takes, and the name of that choice."""
        if METHODS[method].mixes:
            return "weights", self.weights
        learning = {name for name, kind in DYNAMIC.items() if kind.learns}
        return "weights_of_no_mixture", tuple(one for one in self.weights if one not in learning)

    def _weights(self, trial: Trial, members: Sequence[int], alone: Sequence[float], method: str) -> Any:
        how = trial.suggest_categorical(*self._weighting(method))
        if how == "avg":
            return None
        if how == "adapt":
            return adapt(members, alone)
        if how == "search":
            shares = [trial.suggest_float(f"weight_{i}", 0.0, 1.0) for i in members]
            return tuple(round(share / (sum(shares) or 1) if sum(shares) else 1.0, 4) for share in shares)
        if how == "track":
            gamma = round(trial.suggest_float("gamma", *self.gamma, log=True), 4)
            return {
                "by": how,
                "gamma": gamma,
                "horizon": round(trial.suggest_float("horizon", *self.horizon, log=True), 1),
            }
        return {"by": how, "tau": round(trial.suggest_float("tau", *self.tau, log=True), 4)}


@dataclass(frozen=True)
class Candidate:
    """An ensemble of some of the members.

    Attributes:
        members: Indices of the members that take part, among all.
        main: Index of the main model, among all.
        fusion: The fusion method with its options.
        weights: Aggregation weights, as `EnsembleLLM` takes them.
        gate: When to fuse.
    """

    members: tuple[int, ...]
    main: int
    fusion: Mapping[str, Any]
    weights: Any = None
    gate: Any = "always"

    @classmethod
    def alone(cls, member: int) -> Candidate:
        """One member by itself."""
        return cls((member,), member, {"method": DEFAULT.method})

    @property
    def settings(self) -> dict[str, Any]:
        """What `EnsembleLLM` takes beside the members that take part."""
        main = self.members.index(self.main)
        return {"main_model": main, "fusion": dict(self.fusion), "weights": self.weights, "gate": self.gate}

    def within(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, with what all candidates share, as far as the fusion method has it; its own count first."""
        known = METHODS[self.fusion["method"]].model_fields
        shared = {name: value for name, value in common.get("fusion", {}).items() if name in known}
        return {**common, **self.settings, "fusion": {**shared, **self.fusion}}

    @property
    def key(self) -> str:
        """What tells candidates apart."""
        return json.dumps([self.members, self.settings], sort_keys=True)


def adapt(members: Sequence[int], alone: Sequence[float]) -> tuple[float, ...] | None:
    """DEEPEN-Adapt: weights by scores alone; equal ones where nobody scored."""
    scores = [alone[i] for i in members]
    return tuple(adapted_weights(scores)) if sum(scores) > 0 else None


def tunable_names() -> list[str]:
    """The options of fusion methods that a search may choose, each once."""
    return list(dict.fromkeys(one.name for kind in METHODS.values() for one in kind.tunables))


def _values(fusion: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a fusion method, by name, unchecked: those that are given, and the defaults of the others."""
    return dict(METHODS[fusion["method"]].model_construct(**fusion))
