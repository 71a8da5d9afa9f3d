"""What is read of `transformers` beyond its documented calls: signatures, private attributes, kinds of cache layers.

No other module of this package reads these. Whatever the installed version does not tell is a `LoadError` that names
the version and the remedy; nothing turns into a slower or weaker way of decoding instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import transformers
from torch import nn
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel, cache_utils
from transformers.cache_utils import DynamicLayer as DynamicLayer

from deepen_llm.errors import LoadError
from deepen_llm.vocabulary.supported import remedy

_CACHES = ("cache", "past_key_values")  # the key-value cache: the second until 5.24, where the first took its place
_OWN_STATES = {"cache_params", "past_buckets_states", "mems", "state"}  # what Mamba, Reformer, XLNet and RWKV carry on


class Layer(Enum):
    """What a configuration has one layer remember."""

    FULL = "keys and values of all tokens"
    SLIDING = "keys and values of a window, or of a chunk"
    INDEXED = "keys and values of all tokens, and an index to choose among them"
    NOTHING = "nothing: it reads another layer's keys and values, or has no attention"
    RECURRENT = "a state that each token overwrites"


_RECURRENT = {"conv", "linear_attention", "mamba", "hybrid", "hybrid_sliding"}  # names of layers in configurations
_LAYERS = {  # by the exact class, since a subclass may remember more; older versions lack some
    "DynamicLayer": Layer.FULL,
    "DynamicSlidingWindowLayer": Layer.SLIDING,
    "DynamicIndexedLayer": Layer.INDEXED,
    "DummyLayer": Layer.NOTHING,
}


@dataclass(frozen=True)
class Arguments:
    """What a model's forward takes by name.

    Attributes:
        names: All names.
        cache: The name of its key-value cache; None where it has none, or a state of its own that cannot be cut.
    """

    names: frozenset[str]
    cache: str | None

    @classmethod
    def of(cls, model: nn.Module | type[nn.Module]) -> Arguments:
        """Read a forward's signature, beneath adapters and beneath overrides that pass all on by ``**``.

        Args:
            model: The model, or its class.

        Raises:
            LoadError: The signature is not readable, or it has a cache under no known name.
        """
        kind = model if isinstance(model, type) else type(base_of(model))
        signatures = [_names(vars(one)["forward"]) for one in kind.__mro__ if "forward" in vars(one)]
        names: set[str] = set()
        cache: str | None = None
        for given, passes_on in signatures:
            cache = cache or next((name for name in _CACHES if name in given), None)
            names |= given
            if not passes_on:
                break
        if "input_ids" not in names:
            raise unknown(f"gives no signature of {kind.__name__}.forward with input_ids")
        if cache is None and "use_cache" in names and not names & _OWN_STATES:
            raise unknown(
                f"names the cache of {kind.__name__}.forward in no known way: it takes {', '.join(sorted(names))}"
            )
        return cls(frozenset(names), cache)


def base_of(model: Any) -> Any:
    """The `transformers` model within a PEFT or a compiled model."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.inference_mode(False)
@torch.no_grad()
def embedding_of(model: PreTrainedModel) -> torch.Tensor:
    """The input token embeddings, ``[V, D]``, with what an adapter changes in them; on the meta device if offloaded."""
    module = model.get_input_embeddings()
    if module.weight.is_meta or not type(module).__module__.startswith("peft."):
        return module.weight.detach()  # type: ignore[no-any-return]
    ids = torch.arange(len(module.weight), device=module.weight.device)
    return module(ids).detach().to(module.weight.dtype)  # type: ignore[no-any-return]


def device_of(model: PreTrainedModel) -> torch.device:
    """Where a model's forward takes its token ids: that of its embeddings, or where accelerate brings them to.

    Raises:
        LoadError: They are on the meta device, and nothing brings them from there.
    """
    module = model.get_input_embeddings()
    if not module.weight.is_meta:
        return torch.device(module.weight.device)
    attached = [getattr(part, "_hf_hook", None) for part in (*module.modules(), model)]
    hooks = [one for hook in attached for one in getattr(hook, "hooks", [hook])]  # several are one that holds them
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    device = next((one for one in devices if one is not None), None)
    if device is None:
        raise LoadError(
            f"the weights of {type(model).__name__} are on the meta device, which holds no numbers",
            hint="load them onto a device, or offload them with accelerate (device_map), which brings them back",
        )
    return torch.device(device)


def has_virtual_tokens(model: PreTrainedModel) -> bool:
    """Whether a PEFT model puts trained vectors before each text, which no cache of its base knows of."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def cache_of(output: Any) -> Any:
    """The cache in what a forward returned; None where it used none.

    Raises:
        LoadError: The output has none under a known name.
    """
    for name in _CACHES:
        if hasattr(output, name):
            return getattr(output, name)
    raise unknown(f"names the cache of a {type(output).__name__} in no known way")


def is_stateful(model: PreTrainedModel) -> bool:
    """Whether a model carries on a state that cannot be rolled back.

    Raises:
        LoadError: `transformers` does not tell.
    """
    return bool(_private(base_of(model), "_is_stateful"))


def cache_layers(config: PretrainedConfig) -> set[Layer]:
    """What a configuration's layers remember.

    Raises:
        LoadError: A layer is of no known kind.
    """
    if _RECURRENT.intersection(getattr(config.get_text_config(decoder=True), "layer_types", None) or ()):
        return {Layer.RECURRENT}  # which versions before 5.4 do not tell by their cache
    try:
        layers = DynamicCache(config=config).layers
    except (KeyError, AttributeError, TypeError) as error:
        raise unknown(f"makes no cache for a {type(config).__name__} ({error!r})") from error
    return {_layer_of(type(layer)) for layer in layers} or {Layer.FULL}


def _layer_of(kind: type) -> Layer:
    for name, known in _LAYERS.items():
        if kind is getattr(cache_utils, name, None):
            return known
    if issubclass(kind, getattr(cache_utils, "LinearAttentionCacheLayerMixin", ())):
        return Layer.RECURRENT
    raise unknown(f"has a kind of cache layer that deepen-llm does not know, {kind.__name__}")


def has_fixed_shapes(model: PreTrainedModel) -> bool:
    """Whether a model's one-token forward can have a fixed shape: no value steers it, and its masks can be given.

    Raises:
        LoadError: `transformers` does not tell.
    """
    base = base_of(model)
    steered = not _private(base, "_can_compile_fullgraph")
    return not steered and _private(base.config, "_attn_implementation") in {"sdpa", "eager"}


def undivided(model: PreTrainedModel) -> set[str]:
    """The names of the classes whose modules stay on one device.

    Raises:
        LoadError: `transformers` does not tell.
    """
    return set(_private(base_of(model), "_no_split_modules") or ())


def rope_parameters(config: PretrainedConfig) -> list[dict[str, Any]]:
    """The rotary embeddings of a text configuration: one for all layers, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in found.values() if isinstance(value, dict)]
    return nested or [found]


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name, which an older `transformers` may not have."""
    return name in inspect.signature(function).parameters


def unknown(what: str) -> LoadError:
    """The error for something that the installed version does not tell.

    Args:
        what: The sentence that follows the version.
    """
    return LoadError(f"transformers {transformers.__version__} {what}", hint=remedy())


def _names(forward: Callable[..., Any]) -> tuple[set[str], bool]:
    """The names that a function takes, and whether it passes on others; decorators that wrap it are looked through."""
    parameters = inspect.signature(forward).parameters
    return set(parameters), any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _private(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise unknown(f"no longer has {type(owner).__name__}.{name}") from error
