"""Options about members, which every command that loads models has."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig

QuantizationName = Literal["bnb-int8", "bnb-nf4", "torchao-int8"]
"""The values of ``quantization`` of a `MemberConfig`."""

MemberOption = functools.partial(typer.Option, rich_help_panel="Members")


@dataclass(frozen=True)
class MemberOptions:
    """Options about members; None for an option that is not given."""

    member: Annotated[list[str] | None, MemberOption("--member", "-m", help="A local folder or hub id; repeat.")] = None
    config: Annotated[
        Path | None,
        MemberOption(
            "--config",
            "-c",
            exists=True,
            dir_okay=False,
            help="An ensemble's YAML file, in place of --member; other options override it.",
        ),
    ] = None
    dtype: Annotated[str | None, MemberOption(help="auto, float32, bfloat16 or float16, for every member.")] = None
    device: Annotated[
        list[str] | None, MemberOption(help="auto, cpu, cuda:0, ...; one for all members, or repeat.")
    ] = None
    quantization: Annotated[
        QuantizationName | None, MemberOption(help="Quantize every member's weights while they are loaded.")
    ] = None

    def configuration(self, **generation: Any) -> EnsembleConfig:
        """The configuration file's settings, overridden by the options.

        Args:
            **generation: Fields of `GenerationOptions` for which the command has options of its own.

        Raises:
            ConfigError: A setting cannot be used.
            typer.BadParameter: There are neither members nor a file, or both.
        """
        from deepen_llm.config import EnsembleConfig

        if bool(self.member) == bool(self.config):
            got = "both" if self.member else "neither"
            raise typer.BadParameter(f"give either --member, once for each model, or --config; got {got}")
        base: dict[str, Any] = (
            EnsembleConfig.load(self.config).model_dump()
            if self.config
            else {"members": [{"path": member} for member in self.member or []]}
        )
        base["members"] = self._placed([dict(member) for member in base["members"]])
        return EnsembleConfig(**{**base, **self._overrides(base, generation)})

    def _overrides(self, base: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def _placed(self, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
        devices: list[str | None] = [*(self.device or [])]
        if len(devices) not in {0, 1, len(members)}:
            raise typer.BadParameter(f"{len(devices)} times --device for {len(members)} members")
        if len(devices) != len(members):
            devices = (devices or [None]) * len(members)
        common = self._common()
        return [{**member, **common, **placed_on(device)} for member, device in zip(members, devices, strict=True)]

    def _common(self) -> dict[str, Any]:
        """The settings of every member."""
        return given({"dtype": self.dtype, "quantization": self.quantization})


def placed_on(device: str | None) -> dict[str, Any]:
    """The settings of a member on a device; none without one."""
    return {"device": device, "device_map": None} if device else {}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given."""
    return {name: value for name, value in options.items() if value is not None and value != []}
