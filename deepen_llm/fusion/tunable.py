"""Tunable options of fusion methods: the values that a search proposes, and those that charts compare.

A method lists its `Tunable` options. `deepen_llm.tuning` lets Optuna propose their values and scores their sweeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from typing_extensions import Self, override


class Trial(Protocol):
    """Proposes values, as Optuna's trials do."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number between bounds."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number between bounds."""


@dataclass(frozen=True)
class Sweep:
    """Values of an option over which charts show scores.

    Attributes:
        values: The values.
        loss: Whether the loss of right answers is measured, too.
        beside: Options that are set with it.
        tokens: Whether the values count tokens: those beyond the smallest vocabulary are left out.
    """

    values: tuple[float, ...]
    loss: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)
    tokens: bool = False


@dataclass(frozen=True)
class Tunable(ABC):
    """An option that a search may choose.

    Attributes:
        name: The option's name.
        label: The option's name in charts.
        searched: Whether a search chooses it where its space does not name it.
        only: The name of an earlier `Choice` of the method, and the choices for which this option has an effect; None
            where it always has one.
    """

    name: str
    label: str = field(kw_only=True)
    searched: bool = field(default=True, kw_only=True)
    only: tuple[str, tuple[str, ...]] | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def distribution(self) -> tuple[Any, ...]:
        """The values that are proposed; a search treats two options with equal distributions as one parameter."""

    @abstractmethod
    def narrowed(self, given: Sequence[Any]) -> Self:
        """The same option with other bounds or choices, and with ``searched`` set.

        Args:
            given: The lower and the upper bound, or the choices.

        Raises:
            ValueError: They cannot be used.
        """

    @abstractmethod
    def propose(self, trial: Trial, parameter: str) -> dict[str, Any]:
        """The options that a trial proposes, by name.

        Args:
            trial: The trial.
            parameter: The option's name in the trial.
        """

    @abstractmethod
    def held(self, values: Mapping[str, Any]) -> Any:
        """The value that a trial proposes for these options of a method; None where it proposes no such value."""

    def applies(self, tunables: Sequence[Tunable], values: Mapping[str, Any]) -> bool:
        """Whether the option has an effect in a method that has these options.

        Args:
            tunables: All tunable options of the method.
            values: The method's options, by name.
        """
        if self.only is None:
            return True
        name, choices = self.only
        earlier = (option for option in tunables if isinstance(option, Choice) and option.name == name)
        return any(option.chosen(values) in choices for option in earlier)


@dataclass(frozen=True)
class Number(Tunable):
    """A number between bounds.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        digits: How many decimals are kept; None for whole numbers.
        log: Whether the logarithm is drawn evenly.
        sweep: The values that charts show; None for no chart.
    """

    low: float
    high: float
    digits: int | None = field(default=None, kw_only=True)
    log: bool = field(default=False, kw_only=True)
    sweep: Sweep | None = field(default=None, kw_only=True)

    @property
    @override
    def distribution(self) -> tuple[Any, ...]:
        return self.low, self.high, self.digits, self.log

    def narrowed(self, given: Sequence[Any]) -> Self:
        """Other bounds."""
        numbers = [bound for bound in given if isinstance(bound, int | float) and not isinstance(bound, bool)]
        least = "above 0" if self.low > 0 else "from 0"
        if len(numbers) != 2 or len(given) != 2 or not self._is_usable(*numbers):
            raise ValueError(f"{self.name}={given!r}: bounds are two numbers {least}, the lower one first")
        if self.digits is None and any(bound != int(bound) for bound in numbers):
            raise ValueError(f"{self.name}={given!r}: bounds are two whole numbers")
        return replace(self, low=numbers[0], high=numbers[1], searched=True)

    def _is_usable(self, low: float, high: float) -> bool:
        return low <= high and (low > 0 if self.low > 0 else low >= 0)

    def propose(self, trial: Trial, parameter: str) -> dict[str, Any]:
        """The number."""
        if self.digits is None:
            return {self.name: trial.suggest_int(parameter, int(self.low), int(self.high), log=self.log)}
        return {self.name: round(trial.suggest_float(parameter, self.low, self.high, log=self.log), self.digits)}

    def held(self, values: Mapping[str, Any]) -> Any:
        """The number, where it is between the bounds."""
        value = values.get(self.name)
        return value if value is not None and self.low <= value <= self.high else None


@dataclass(frozen=True)
class Choice(Tunable):
    """One of some choices.

    Attributes:
        choices: For each choice, by name, the options that it sets.
        usual: The choices that are proposed; all if empty.
    """

    choices: Mapping[str, Mapping[str, Any]]
    usual: tuple[str, ...] = field(default=(), kw_only=True)

    @classmethod
    def of(cls, name: str, *values: Any, **fields: Any) -> Self:
        """An option whose value is one of these.

        Args:
            name: The option's name.
            values: The values.
            fields: Other fields of the class.
        """
        return cls(name, {str(value): {name: value} for value in values}, **fields)

    @property
    @override
    def distribution(self) -> tuple[Any, ...]:
        return self.usual or tuple(self.choices)

    def narrowed(self, given: Sequence[Any]) -> Self:
        """Other choices."""
        names = tuple(map(str, given))
        if isinstance(given, str) or not names or not set(names) <= set(self.choices):
            raise ValueError(f"{self.name}={given!r}: expected some of {', '.join(self.choices)}")
        return replace(self, usual=names, searched=True)

    def propose(self, trial: Trial, parameter: str) -> dict[str, Any]:
        """The options of the choice."""
        return dict(self.choices[trial.suggest_categorical(parameter, self.distribution)])

    def held(self, values: Mapping[str, Any]) -> Any:
        """The choice that sets these options, where it is proposed."""
        name = self.chosen(values)
        return name if name in self.distribution else None

    def chosen(self, values: Mapping[str, Any]) -> str | None:
        """The first choice that sets these options; None for none."""
        return next((name for name, options in self.choices.items() if options.items() <= values.items()), None)


def propose(
    tunables: Sequence[Tunable], trial: Trial, defaults: Mapping[str, Any], parameter: Callable[[Tunable], str]
) -> dict[str, Any]:
    """Options of a method that a trial proposes.

    Args:
        tunables: The options to search, in the method's order.
        trial: The trial.
        defaults: All options of the method at their defaults.
        parameter: Gives an option's name in the trial.
    """
    options = dict[str, Any]()
    for tunable in tunables:
        if tunable.applies(tunables, {**defaults, **options}):
            options |= tunable.propose(trial, parameter(tunable))
    return options
