"""Options that several commands have, and the configuration made of them."""

from __future__ import annotations

import functools
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepen_llm.cli.terminal import errors, quiet_libraries
from deepen_llm.cli.threads import run_small_on_one_thread

if TYPE_CHECKING:
    from deepen_llm.config import EnsembleConfig
    from deepen_llm.llm import EnsembleLLM

# Names are repeated or read from file names here, so that ``--help`` does not import torch.
_METHODS = Path(__file__).parents[1] / "fusion" / "methods"
FUSION_NAMES = tuple(module.name for module in pkgutil.iter_modules([str(_METHODS)]))
"""The fusion methods."""

WeightsName = Literal["prompt", "entropy", "track"]
"""`DynamicWeights`."""

GateName = Literal["always", "unsure", "boundary", "safe"]
"""The values of ``when`` of a `Gate`."""

QuantizationName = Literal["bnb-int8", "bnb-nf4", "torchao-int8"]
"""The values of ``quantization`` of a `MemberConfig`."""

_Member = functools.partial(typer.Option, rich_help_panel="Members")
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

_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"""\\([ntr\\"']|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})""")


@dataclass(frozen=True)
class MemberOptions:
    """Options about members; None for an option that is not given."""

    member: Annotated[list[str] | None, _Member("--member", "-m", help="A local folder or hub id; repeat.")] = None
    config: Annotated[
        Path | None,
        _Member(
            "--config",
            "-c",
            exists=True,
            dir_okay=False,
            help="An ensemble's YAML file, in place of --member; other options override it.",
        ),
    ] = None
    dtype: Annotated[str | None, _Member(help="auto, float32, bfloat16 or float16, for every member.")] = None
    device: Annotated[list[str] | None, _Member(help="auto, cpu, cuda:0, ...; one for all members, or repeat.")] = None
    quantization: Annotated[
        QuantizationName | None, _Member(help="Quantize every member's weights while they are loaded.")
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
            raise typer.BadParameter("give either --member, once for each model, or --config")
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
        return [{**member, **common, **_placed_on(device)} for member, device in zip(members, devices, strict=True)]

    def _common(self) -> dict[str, Any]:
        """The settings of every member."""
        return _given({"dtype": self.dtype, "quantization": self.quantization})


@dataclass(frozen=True)
class DecodingOptions(MemberOptions):
    """Options about members and greedy decoding; None for an option that is not given."""

    compile: Annotated[
        bool | None, _Member("--compile/--no-compile", help="Compile every member's one-token steps.")
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
            **_given({"draft_tokens": self.draft_tokens}),
            "draft_model": self._draft_model(base),
            "generation": {**base.get("generation", {}), **_given(options)},
        }

    def _common(self) -> dict[str, Any]:
        return {**super()._common(), **_given({"compile": self.compile})}

    def _main(self, base: Mapping[str, Any]) -> int:
        return int(base.get("main_model", 0))

    def _draft_model(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """The settings of the draft model, which has the main model's device."""
        model = {"path": self.draft_model} if self.draft_model else base.get("draft_model")
        if model is None:
            return None
        main = self._main(base)
        device = base["members"][main]["device"] if self.device and 0 <= main < len(base["members"]) else None
        return {**model, **self._common(), **_placed_on(device)}


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
            **_given({"main_model": self.main_model, "weights": self._weights(base.get("weights"))}),
            **_given({"gate": _by_name(base.get("gate"), "when", self.gate)}),
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
        flags = _given({"relr": self.relr, "search_steps": self.search_steps, "rounds": self.rounds})
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


def settings(pairs: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """Parse settings of the form ``NAME=VALUE``, with values as in a YAML file.

    Args:
        pairs: The values of the flag.
        flag: The flag, for errors.

    Raises:
        typer.BadParameter: A value is no such pair or no YAML, or a name is given twice.
    """
    import yaml

    by_name = dict[str, Any]()
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is no NAME=VALUE", param_hint=flag)
        if name in by_name:
            raise typer.BadParameter(f"{pair!r}: {name} is given twice", param_hint=flag)
        try:
            by_name[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(
                f"the value of {pair!r} cannot be read: write it as in YAML, such as 0.5, true or [1, 3]",
                param_hint=flag,
            ) from None
    return by_name


def unescaped(text: str) -> str:
    """Replace backslash escapes by their characters; other backslashes stay.

    Args:
        text: The text as it was typed.
    """
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1]) or chr(int(escape[1][1:], 16)), text)


def with_options(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the fields of ``kind`` options of a command, which gets them as its argument ``options``."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(kind, eval_str=True).parameters
        own = inspect.signature(command, eval_str=True).parameters

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            command(options=kind(**{name: arguments.pop(name) for name in shared}), **arguments)

        groups = [shared.values() if name == "options" else [parameter] for name, parameter in own.items()]
        parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for group in groups for parameter in group]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return wrap


def _by_name(base: Any, key: str, name: str | None) -> Any:
    """The file's settings where they have this name or none is given; else the name alone, which means defaults."""
    return base if name is None or (isinstance(base, Mapping) and base.get(key) == name) else {key: name}


def _placed_on(device: str | None) -> dict[str, Any]:
    return {"device": device, "device_map": None} if device else {}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != []}
