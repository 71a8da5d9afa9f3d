"""The demonstration's settings: found on the development questions, kept in one file."""

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
"""Where the settings live; `deepen demo --tune` writes it."""

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
        fusion: The fusion method with its options, as `EnsembleLLM` takes it.
        accuracy: Share of the development questions answered rightly.
    """

    method: str
    weighting: str
    main_model: int
    weights: tuple[float, ...] | None = None
    fusion: dict[str, Any]
    accuracy: float = 0.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.method} {self.weighting}"

    def ensemble(self, members: list[Member]) -> EnsembleLLM:
        """The ensemble that this choice stands for, of members that are loaded already."""
        return EnsembleLLM(
            members, main_model=self.main_model, weights=self.weights, fusion=self.fusion, batch_size=BATCH
        )


class DemoSettings(Options):
    """All that the demonstration takes from the development questions.

    Attributes:
        questions: Number of development questions.
        members: Each specialist's own accuracy on them.
        ensembles: The best choice of settings for each method and weighting.
    """

    questions: int
    members: dict[str, float]
    ensembles: tuple[Choice, ...]

    @classmethod
    def load(cls, file: Path = FILE) -> Self:
        """Read the settings.

        Raises:
            ConfigError: The file is missing or is not what `save` writes.
        """
        try:
            given = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"the demo's settings {file} cannot be read: {error}", hint="write them with: deepen demo --tune"
            ) from error
        return cls(**given)

    def save(self, file: Path = FILE) -> None:
        """Write the file that `load` reads.

        Raises:
            ConfigError: It cannot be written.
        """
        given = self.model_dump(mode="json", exclude_defaults=True)
        text = _HEAD + yaml.safe_dump(given, sort_keys=False, default_flow_style=None)
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the demo's settings cannot be written: {error}", hint="tune in a checkout that you may write to"
            ) from error
