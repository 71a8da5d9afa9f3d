"""Options about decoding and fusion that several commands have, and the configuration made of them."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepen_llm.cli.members import MemberOption, MemberOptions, given, placed_on
from deepen_llm.cli.terminal import errors, quiet_libraries
from deepen_llm.cli.threads import run_small_on_one_thread
from deepen_llm.cli.values import settings, unescaped

if TYPE_CHECKING:
    from deepen_llm.llm import EnsembleLLM

# Names are repeated or read from file names here, so that ``--help`` does not import torch.
_METHODS = Path(__file__).parents[1] / "fusion" / "methods"
FUSION_NAMES = tuple(module.name for module in pkgutil.iter_modules([str(_METHODS)]))
"""The fusion methods."""

WeightsName = Literal["prompt", "entropy", "track"]
"""`DynamicWeights`."""

GateName = Literal["always", "unsure", "boundary", "safe"]
"""The values of ``when`` of a `Gate`."""

_Fusion = functools.partial(typer.Option, rich_help_panel="Fusion")
_Speed = functools.partial(typer.Option, rich_help_panel="Speed")
_Sampling = functools.partial(typer.Option, rich_help_panel="Generation")

TokenHealing = Annotated[
    bool | None,
    _Sampling(
        "--token-healing/--no-token-healing",
        help="Continue a prompt that ends inside a word, or in a space, as members would write the whole.",
    ),
]
"""An option of the commands that continue a prompt; it has no effect after a chat template."""


@dataclass(frozen=True)
class DecodingOptions(MemberOptions):
    """Options about members and greedy decoding; None for an option that is not given."""

    compile: Annotated[
        bool | None, MemberOption("--compile/--no-compile", help="Compile every member's one-token steps.")
    ] = None
    draft_tokens: Annotated[
        int | None, _Speed(help="The most tokens drafted ahead, for members to read at once. Default: 0.")
    ] = None
    draft_model: Annotated[
        str | None, _Speed(help="A small model of the main model's vocabulary, to draft in its place.")
    ] = None
    max_new_tokens: Annotated[int | None, _Sampling(help="The most tokens to generate. Default: 256.")] = None
    stop: Annotated[
        list[str] | None,
        _Sampling(help=r"A string before which the text ends; repeat. \n, \t, \r, \xNN, \uNNNN and \\ are escapes."),
    ] = None
    stop_token_ids: Annotated[
        list[int] | None,
        _Sampling("--stop-token-id", help="A token of the main model, by its id, before which the text ends; repeat."),
    ] = None
    repetition_penalty: Annotated[float | None, _Sampling(help="Above 1: less repetition.")] = None

    def load(self, **generation: Any) -> EnsembleLLM:
        """Load the ensemble.

        Raises:
            DeepenError: See `EnsembleLLM.from_config`.
            typer.BadParameter: See `configuration`.
        """
        with errors.status("Starting..."):
            from deepen_llm import EnsembleLLM

            config = self.configuration(**generation)
        quiet_libraries()
        with errors.status(f"Loading {len(config.members)} members..."):
            llm = EnsembleLLM.from_config(config)
        run_small_on_one_thread([*llm.members, *([llm.draft_model] if llm.draft_model else [])])
        return llm

    def _overrides(self, base: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
        from deepen_llm.engine.options import GenerationOptions

        options = {name: getattr(self, name, None) for name in GenerationOptions.model_fields} | dict(generation)
        options["stop"] = [unescaped(stop) for stop in self.stop or []]
        return {
            **given({"draft_tokens": self.draft_tokens}),
            "draft_model": self._draft_model(base),
            "generation": {**base.get("generation", {}), **given(options)},
        }

    def _common(self) -> dict[str, Any]:
        return {**super()._common(), **given({"compile": self.compile})}

    def _main(self, base: Mapping[str, Any]) -> int:
        return int(base.get("main_model", 0))

    def _draft_model(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """The settings of the draft model, which has the main model's device."""
        model = {"path": self.draft_model} if self.draft_model else base.get("draft_model")
        if model is None:
            return None
        main = self._main(base)
        device = base["members"][main]["device"] if self.device and 0 <= main < len(base["members"]) else None
        return {**model, **self._common(), **placed_on(device)}


@dataclass(frozen=True)
class EnsembleOptions(DecodingOptions):
    """Options about an ensemble; None for an option that is not given."""

    main_model: Annotated[
        int | None, _Fusion(help="Index, from 0, of the member whose vocabulary tokens are chosen from. Default: 0.")
    ] = None
    weight: Annotated[list[float] | None, _Fusion(help="Aggregation weight; one per member. Default: equal.")] = None
    weights: Annotated[
        WeightsName | None,
        _Fusion(
            help="Weights that follow the prompt's likelihood, each token's entropy, or the text so far, in place of "
            "--weight."
        ),
    ] = None
    gate: Annotated[
        GateName | None,
        _Fusion(
            help="Where to fuse: always (default), where the main model is unsure, at every member's boundary, or "
            "(safe) where members do not agree."
        ),
    ] = None
    fusion: Annotated[
        str | None,
        _Fusion(metavar="NAME", help=f"The fusion method: {', '.join(FUSION_NAMES)}. Default: surface."),
    ] = None
    fusion_option: Annotated[
        list[str] | None,
        _Fusion(metavar="NAME=VALUE", help="An option of the fusion method, such as straddle=2; repeat."),
    ] = None
    relr: Annotated[float | None, _Fusion(help="With --fusion deepen: relative ensemble learning rate.")] = None
    search_steps: Annotated[int | None, _Fusion(help="With --fusion deepen: search steps.")] = None
    rounds: Annotated[int | None, _Fusion(help="Rounds of surface (default 2) or bayes (3).")] = None
    temperature: Annotated[float | None, _Sampling(help="0 is greedy (default).")] = None
    top_p: Annotated[
        float | None, _Sampling(help="Sample from the likeliest tokens with this probability together.")
    ] = None
    top_k: Annotated[int | None, _Sampling(help="Sample from this many likeliest tokens.")] = None
    min_p: Annotated[float | None, _Sampling(help="Sample from tokens with this share of the likeliest one's.")] = None
    seed: Annotated[int | None, _Sampling(help="Makes sampling repeat.")] = None

    def _overrides(self, base: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **super()._overrides(base, generation),
            **given({"main_model": self.main_model, "weights": self._weights(base.get("weights"))}),
            **given({"gate": _by_name(base.get("gate"), "when", self.gate)}),
            "fusion": self._fusion(base.get("fusion", {})),
        }

    def _main(self, base: Mapping[str, Any]) -> int:
        return super()._main(base) if self.main_model is None else self.main_model

    def _weights(self, base: Any) -> Any:
        if self.weight and self.weights:
            raise typer.BadParameter(f"--weights {self.weights} beside --weight; give numbers or a name")
        return self.weight or _by_name(base, "by", self.weights)

    def _fusion(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The fusion settings; a method other than the file's begins with its defaults."""
        from deepen_llm.errors import ConfigError
        from deepen_llm.fusion import DEFAULT, METHODS, method_class

        method = self.fusion or base.get("method", DEFAULT.method)
        try:
            known = method_class(method).model_fields
        except ConfigError as error:
            raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--fusion") from None
        flags = given({"relr": self.relr, "search_steps": self.search_steps, "rounds": self.rounds})
        for name in flags:
            if name not in known:
                owners = " or ".join(other for other, kind in METHODS.items() if name in kind.model_fields)
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag} is no option of fusion {method!r}", hint=f"give it with --fusion {owners}")
        named = settings(self.fusion_option, "--fusion-option")
        if twice := sorted({*flags, "method"} & set(named)):
            flag = "fusion" if twice[0] == "method" else twice[0].replace("_", "-")
            raise typer.BadParameter(f"{twice[0]} has a flag of its own, --{flag}", param_hint="--fusion-option")
        kept = base if method == base.get("method") else {}
        return {**kept, "method": method, **flags, **named}


def _by_name(base: Any, key: str, name: str | None) -> Any:
    """The file's settings where they have this name or none is given; else the name alone, which means defaults."""
    return base if name is None or (isinstance(base, Mapping) and base.get(key) == name) else {key: name}
