"""Settings: members alone, and ensembles of all by fusion, gate, weights and main model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from deepen_llm.errors import ConfigError
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember

Option = str | dict[str, Any]
"""A name, or a mapping of options with it, as `EnsembleLLM` takes them."""


@dataclass(frozen=True)
class Setting:
    """A member alone, or an ensemble of all members.

    Attributes:
        main: Name of the main model.
        fusion: The fusion method; None for the main model alone.
        gate: The gate.
        weights: Aggregation weights; None for equal ones.
    """

    main: str
    fusion: Option | None = None
    gate: Option = "always"
    weights: Option | list[float] | None = None

    @property
    def label(self) -> str:
        """The label of the setting, without its main model."""
        if self.fusion is None:
            return "alone"
        gate = "" if self.gate == "always" else f", gate {_told(self.gate)}"
        weights = "" if self.weights is None else f", weights {_told(self.weights)}"
        return f"{_told(self.fusion)}{gate}{weights}"

    def ensemble(self, members: Sequence[LocalMember], batch_size: int) -> EnsembleLLM:
        """Make the ensemble, or an ensemble of the main model only.

        Args:
            members: All members.
            batch_size: The number of texts decoded together.

        Raises:
            ConfigError: An option is invalid, or the main model is unknown.
        """
        names = [member.name for member in members]
        if self.main not in names:
            raise ConfigError(f"no member {self.main!r}", hint=f"there are {', '.join(names)}")
        main = names.index(self.main)
        if self.fusion is None:
            return EnsembleLLM([members[main]], batch_size=batch_size)
        return EnsembleLLM(
            members,
            main_model=main,
            fusion=self.fusion,
            gate=self.gate,
            weights=self.weights,
            batch_size=batch_size,
        )


def crossed(
    mains: Sequence[str], fusions: Sequence[str], gates: Sequence[str], weights: Sequence[str]
) -> list[Setting]:
    """Combine every main model, alone and with every method, gate and kind of weights of a command line.

    Args:
        mains: Names of main models.
        fusions: Methods: a name, or a mapping in YAML, such as ``{method: bayes, rounds: 1}``.
        gates: Gates, in the same way.
        weights: Weights, in the same way, or a list of numbers; ``equal`` for equal ones.
    """
    options = itertools.product(fusions, gates, weights)
    made = [(read(fusion), read(gate), None if one == "equal" else read(one)) for fusion, gate, one in options]
    return [setting for main in mains for setting in (Setting(main), *(Setting(main, *one) for one in made))]


def read(text: str) -> Any:
    """Parse an argument in YAML: a name, a list or a mapping.

    >>> read("{method: bayes, rounds: 1}")
    {'method': 'bayes', 'rounds': 1}
    """
    return yaml.safe_load(text)


def _told(option: Option | list[float]) -> str:
    if isinstance(option, dict):
        name, *rest = option.values()
        told = ", ".join(f"{key}={value}" for key, value in list(option.items())[1:])
        return f"{name} ({told})" if rest else str(name)
    return str(option)
