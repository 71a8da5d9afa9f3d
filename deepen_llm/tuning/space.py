"""What is tried: whole settings at first, then whatever a search over their options proposes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from deepen_llm.fusion import METHODS, adapted_weights
from deepen_llm.fusion.gate import When
from deepen_llm.options import Options

if TYPE_CHECKING:
    from optuna.trial import Trial

Weighting = Literal["avg", "adapt", "search", "prompt", "entropy", "track"]
"""DEEPEN-Avg; DEEPEN-Adapt, by scores alone; fixed ones that the search finds; by the prompt's likelihood, by the
entropy of each step, or by the text so far (not with ``deepen``)."""

_SPACES = {"deepen": "paper", "bayes": "calibrated"}  # of the methods' defaults
_PAPER: dict[str, Any] = {"center": False, "normalize_rows": True, "temperature": 100.0, "self_mass": None}
STARTS: tuple[dict[str, Any], ...] = (
    {"method": "surface"},
    {"method": "deepen"},
    {"method": "deepen", "relr": 0.3, "search_steps": 10},
    {"method": "bayes", "rounds": 1},
    {"method": "bayes", "rounds": 3},
)
"""Fusion settings to try of every set of members."""


class SearchSpace(Options):
    """The settings that `tune` may choose from; a tuple with one value fixes an option.

    Attributes:
        methods: Fusion methods.
        relr: Bounds of the relative ensemble learning rate η (the authors search from 0.05 to 0.30).
        search_steps: Bounds of the number of search steps T.
        rounds: Bounds of the number of rounds of ``bayes`` and ``surface``.
        self_mass: Bounds of the anchors' mean self-mass in a calibrated space.
        spaces: ``paper`` (normalised rows, temperature 100) or ``calibrated`` (centred, by self-mass).
        anchors: ``joint`` or ``pairwise``.
        anchor_choices: How anchors are chosen: ``all``, ``random``, ``consistent``, ``spread``.
        anchor_counts: Bounds of their number, where not all are taken.
        weights: How members are weighed.
        tau: Bounds of the temperature τ of weights by ``prompt`` or ``entropy``.
        gamma: Bounds of the boldness (gamma) of weights by ``track``.
        horizon: Bounds of their horizon in bytes.
        gates: When to fuse: ``always``, ``unsure``, ``boundary``, ``safe``.
        below: Bounds of the main model's top probability below which it is ``unsure``.
    """

    methods: tuple[Literal["deepen", "bayes", "surface"], ...] = Field(("deepen", "bayes", "surface"), min_length=1)
    relr: tuple[float, float] = (0.05, 1.0)
    search_steps: tuple[int, int] = (1, 20)
    rounds: tuple[int, int] = (1, 5)
    self_mass: tuple[float, float] = (0.5, 0.99)
    spaces: tuple[Literal["paper", "calibrated"], ...] = Field(("paper", "calibrated"), min_length=1)
    anchors: tuple[Literal["joint", "pairwise"], ...] = Field(("joint", "pairwise"), min_length=1)
    anchor_choices: tuple[Literal["all", "random", "consistent", "spread"], ...] = Field(
        ("all", "consistent", "spread"), min_length=1
    )
    anchor_counts: tuple[int, int] = (128, 4096)
    weights: tuple[Weighting, ...] = Field(("avg", "adapt", "search", "prompt", "entropy", "track"), min_length=1)
    tau: tuple[float, float] = (0.1, 10.0)
    gamma: tuple[float, Annotated[float, Field(le=1)]] = (0.02, 1.0)
    horizon: tuple[float, float] = (20.0, 1000.0)
    gates: tuple[When, ...] = Field(get_args(When), min_length=1)
    below: tuple[float, float] = (0.5, 0.99)

    @field_validator("relr", "search_steps", "rounds", "self_mass", "anchor_counts", "tau", "gamma", "horizon", "below")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("bounds are two numbers above 0, the lower one first")
        return value

    @model_validator(mode="after")
    def _every_method_is_weighed(self) -> Self:
        if "deepen" in self.methods and self.weights == ("track",):
            raise ValueError("weights by track are not for deepen: name other weights, too, or leave it out of methods")
        return self

    def start(self, members: Sequence[int]) -> Iterator[Candidate]:
        """Settings to try of every set of members: each method as it stands, with each main model."""
        for fusion in STARTS:
            if fusion["method"] in self.methods:
                for main in members:
                    yield Candidate(tuple(members), main, fusion)

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
        method = METHODS[candidate.fusion["method"]](**candidate.fusion)
        named = {
            "method": (method.method, self.methods),
            "space": (_SPACES.get(method.method), self.spaces),
            "anchors": (getattr(method, "anchors", None), self.anchors),
            self._weighting(method.method)[0]: ("avg" if candidate.weights is None else "adapt", self.weights),
            "anchor_choice": ("all", self.anchor_choices),
            "gate": (candidate.gate, self.gates),
        }
        held = {name: value for name, (value, values) in named.items() if value in values}
        for name in ("relr", "search_steps", "rounds", "self_mass"):
            low, high = getattr(self, name)
            if low <= (getattr(method, name, None) or -1) <= high:
                held[name] = getattr(method, name)
        return {"main_model": candidate.main, **held}

    def _fusion(self, trial: Trial) -> dict[str, Any]:
        fusion: dict[str, Any] = {"method": trial.suggest_categorical("method", self.methods)}
        if fusion["method"] == "deepen":
            fusion["relr"] = round(trial.suggest_float("relr", *self.relr, log=True), 4)
            fusion["search_steps"] = trial.suggest_int("search_steps", *self.search_steps)
        else:
            fusion["rounds"] = trial.suggest_int("rounds", *self.rounds)
        if fusion["method"] == "surface":  # which has no space
            return fusion
        if trial.suggest_categorical("space", self.spaces) == "paper":
            fusion |= _PAPER
        else:
            mass = round(trial.suggest_float("self_mass", *self.self_mass), 3)
            fusion |= {"center": True, "normalize_rows": False, "temperature": None, "self_mass": mass}
        fusion["anchors"] = trial.suggest_categorical("anchors", self.anchors)
        choice = trial.suggest_categorical("anchor_choice", self.anchor_choices)
        if choice != "all":
            count = trial.suggest_int("anchor_count", *self.anchor_counts, log=True)
            fusion |= {"anchor_choice": choice, "anchor_count": count}
        return fusion

    def _weighting(self, method: str) -> tuple[str, tuple[Weighting, ...]]:
        """The weights that a method takes, and the name of that choice."""
        if method != "deepen":
            return "weights", self.weights
        return "weights_of_deepen", tuple(one for one in self.weights if one != "track")

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
        return cls((member,), member, {"method": "surface"})

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
