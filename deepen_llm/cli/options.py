"""The options that commands share, and the configuration that they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepen_llm.cli.terminal import quiet_libraries, waiting

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig
    from deepen_llm.ensemble import EnsembleLLM

MEMBERS, SAMPLING, FUSION = "Members", "Generation", "Fusion"
"""Under which heading the help shows an option."""


class Method(str, Enum):
    """The fusion methods."""

    DEEPEN = "deepen"
    BAYES = "bayes"


MemberOption = Annotated[
    list[str] | None,
    typer.Option("--member", "-m", help="A local folder or hub id; repeat.", rich_help_panel=MEMBERS),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        exists=True,
        dir_okay=False,
        help="An ensemble's YAML file, in place of --member; other options override it.",
        rich_help_panel=MEMBERS,
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(help="auto, float32, bfloat16 or float16, for every member.", rich_help_panel=MEMBERS),
]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option(help="auto, cpu, cuda:0, ...; one for all members, or repeat.", rich_help_panel=MEMBERS),
]
MainModelOption = Annotated[
    int | None,
    typer.Option(
        help="Index, from 0, of the member whose vocabulary tokens are chosen from. Default: 0.",
        rich_help_panel=FUSION,
    ),
]
WeightOption = Annotated[
    list[float] | None,
    typer.Option("--weight", help="Aggregation weight; one per member. Default: equal.", rich_help_panel=FUSION),
]
FusionOption = Annotated[
    Method | None,
    typer.Option(help="deepen: the paper's method (default). bayes: Bayes' rule.", rich_help_panel=FUSION),
]
RelrOption = Annotated[
    float | None,
    typer.Option(help="Relative ensemble learning rate of deepen's search.", rich_help_panel=FUSION),
]
SearchStepsOption = Annotated[int | None, typer.Option(help="Steps of deepen's search.", rich_help_panel=FUSION)]
MaxNewTokensOption = Annotated[
    int | None, typer.Option(help="The most tokens to generate. Default: 256.", rich_help_panel=SAMPLING)
]
TemperatureOption = Annotated[float | None, typer.Option(help="0 is greedy (default).", rich_help_panel=SAMPLING)]
TopPOption = Annotated[
    float | None,
    typer.Option(help="Sample from the likeliest tokens with this probability together.", rich_help_panel=SAMPLING),
]
TopKOption = Annotated[
    int | None, typer.Option(help="Sample from this many likeliest tokens.", rich_help_panel=SAMPLING)
]
MinPOption = Annotated[
    float | None,
    typer.Option(help="Sample from tokens with this share of the likeliest one's.", rich_help_panel=SAMPLING),
]
SeedOption = Annotated[int | None, typer.Option(help="Makes sampling repeat.", rich_help_panel=SAMPLING)]
StopOption = Annotated[
    list[str] | None, typer.Option(help="A string before which the text ends; repeat.", rich_help_panel=SAMPLING)
]
PenaltyOption = Annotated[
    float | None,
    typer.Option("--repetition-penalty", help="Above 1: less repetition.", rich_help_panel=SAMPLING),
]


@dataclass(frozen=True)
class Given:
    """What a command line says about an ensemble; None and empty wherever it says nothing.

    Attributes:
        members: Folders and hub ids.
        config: A configuration file.
        dtype: For every member.
        devices: One for all members, or one for each.
        main_model: Index of the main model.
        weights: Aggregation weights.
        fusion: The fusion method.
        relr: For its search.
        search_steps: For its search.
        generation: Fields of `GenerationOptions`.
    """

    members: list[str] | None
    config: Path | None
    dtype: str | None = None
    devices: list[str] | None = None
    main_model: int | None = None
    weights: list[float] | None = None
    fusion: Method | None = None
    relr: float | None = None
    search_steps: int | None = None
    generation: Mapping[str, Any] | None = None

    def configuration(self) -> EnsembleConfig:
        """The configuration file's settings, overridden by the options.

        Raises:
            ConfigError: A setting cannot be used.
            typer.BadParameter: There are neither members nor a file, or both.
        """
        from deepen_llm.config import EnsembleConfig

        if bool(self.members) == bool(self.config):
            raise typer.BadParameter("give either --member, once for each model, or --config")
        base: dict[str, Any] = (
            EnsembleConfig.load(self.config).model_dump()
            if self.config
            else {"members": [{"path": member} for member in self.members or []]}
        )
        base["members"] = self._placed([dict(member) for member in base["members"]])
        base.update(_said({"main_model": self.main_model, "weights": self.weights}))
        base["generation"] = {**base.get("generation", {}), **_said(self.generation or {})}
        if fusion := self._fusion(base.get("fusion", {})):
            base["fusion"] = fusion
        return EnsembleConfig(**base)

    def load(self) -> EnsembleLLM:
        """Load the ensemble.

        Raises:
            DeepenError: See `EnsembleLLM.from_config`.
            typer.BadParameter: See `configuration`.
        """
        with waiting("Starting..."):
            from deepen_llm.ensemble import EnsembleLLM

            config = self.configuration()
        quiet_libraries()
        with waiting(f"Loading {len(config.members)} members..."):
            return EnsembleLLM.from_config(config)

    def _placed(self, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
        devices: list[str | None] = [*(self.devices or [])]
        if len(devices) not in {0, 1, len(members)}:
            raise typer.BadParameter(f"{len(devices)} times --device for {len(members)} members")
        places = devices if len(devices) == len(members) else (devices or [None]) * len(members)
        return [
            {**member, **_said({"dtype": self.dtype, "device": place})}
            for member, place in zip(members, places, strict=True)
        ]

    def _fusion(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The fusion settings; another method than the file's starts from its own defaults."""
        method = self.fusion.value if self.fusion else base.get("method", Method.DEEPEN.value)
        kept = base if method == base.get("method") else {}
        search = _said({"relr": self.relr, "search_steps": self.search_steps})
        return {**kept, "method": method, **search}


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != []}
