"""Settings of the demonstration, chosen on the development questions and stored in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from deepen_llm.errors import ConfigError
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.options import Options

FILE = Path(__file__).parent / "settings.yaml"
"""The file of the settings; `deepen demo --tune` writes it."""

BATCH = 60
"""Questions decoded together."""

_HEAD = """\
# Written by `deepen demo --tune` from the development questions; nothing here was chosen on the test questions.
# `accuracy` is on the development questions. Weights of "Adapt" are in proportion to the members' accuracies.
"""


class Choice(Options):
    """One ensemble of the bundled specialists.

    Attributes:
        method: The fusion method's name.
        weighting: ``Avg`` or ``Adapt``.
        main_model: Index of the main model among the specialists.
        weights: Aggregation weights; None for equal ones.
        fusion: The fusion method with its options, as in `EnsembleLLM`.
        accuracy: The share of right answers to the development questions.
    """

    method: str
    weighting: str
    main_model: int
    weights: tuple[float, ...] | None = None
    fusion: dict[str, Any]
    accuracy: float = 0.0

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.method} {self.weighting}"

    def ensemble(self, members: list[Member]) -> EnsembleLLM:
        """Make the ensemble of loaded members."""
        return EnsembleLLM(
            members, main_model=self.main_model, weights=self.weights, fusion=self.fusion, batch_size=BATCH
        )


class DemoSettings(Options):
    """The settings of the demonstration.

    Attributes:
        questions: The number of development questions.
        members: The accuracy of each specialist alone on them.
        ensembles: The best choice for each method and weighting.
    """

    questions: int
    members: dict[str, float]
    ensembles: tuple[Choice, ...]

    @classmethod
    def load(cls, file: Path = FILE) -> Self:
        """Read the settings.

        Raises:
            ConfigError: The file is missing or was not written by `save`.
        """
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"the demo's settings {file} cannot be read: {error}", hint="write them with: deepen demo --tune"
            ) from error
        return cls(**values)

    def save(self, file: Path = FILE) -> None:
        """Write the file that `load` reads.

        Raises:
            ConfigError: The file cannot be written.
        """
        values = self.model_dump(mode="json", exclude_defaults=True)
        text = _HEAD + yaml.safe_dump(values, sort_keys=False, default_flow_style=None)
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the demo's settings cannot be written: {error}", hint="tune in a writable checkout"
            ) from error
