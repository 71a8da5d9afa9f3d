"""All that this package reads of `transformers` beyond its documentation: signatures, private attributes, cache layers.

Where the installed version lacks something, the result is a `LoadError` that names the version and the remedy, and
never a slower or weaker way of decoding.
"""

from __future__ import annotations

import importlib
import inspect
import sys
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

_CACHES = ("cache", "past_key_values")  # names of the key-value cache: the first since 5.24, the second before
_OWN_STATES = {"cache_params", "past_buckets_states", "mems", "state"}  # of Mamba, Reformer, XLNet and RWKV


class Layer(Enum):
    """What one layer's cache holds, by the model's configuration."""

    FULL = "keys and values of all tokens"
    SLIDING = "keys and values of a window, or of a chunk"
    INDEXED = "keys and values of all tokens, and an index to choose among them"
    NOTHING = "nothing: it reads another layer's keys and values, or has no attention"
    RECURRENT = "a state that each token overwrites"


_RECURRENT = {"conv", "linear_attention", "mamba", "hybrid", "hybrid_sliding"}  # names of layers in configurations
_LAYERS = {  # by the exact class, since a subclass may hold more; older versions lack some
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
        cache: The name of its key-value cache; None where it has none, or a recurrent state.
    """

    names: frozenset[str]
    cache: str | None

    @classmethod
    def of(cls, model: nn.Module | type[nn.Module]) -> Arguments:
        """Read a forward's signature, without adapters; an override with ``**`` takes its base class's names, too.

        Args:
            model: The model, or its class.

        Raises:
            LoadError: The signature is not readable, or it has a cache under no known name.
        """
        kind = model if isinstance(model, type) else type(base_of(model))
        signatures = [_names(vars(base)["forward"]) for base in kind.__mro__ if "forward" in vars(base)]
        names: set[str] = set()
        cache: str | None = None
        for own_names, passes_on in signatures:
            cache = cache or next((name for name in _CACHES if name in own_names), None)
            names |= own_names
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
    """The `transformers` model inside a PEFT or a compiled model."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.inference_mode(False)
@torch.no_grad()
def embedding_of(model: PreTrainedModel) -> torch.Tensor:
    """The input token embeddings, ``[V, D]``, with an adapter's changes; on the meta device if offloaded."""
    module = model.get_input_embeddings()
    if module.weight.is_meta or not type(module).__module__.startswith("peft."):
        return module.weight.detach()  # type: ignore[no-any-return]
    ids = torch.arange(len(module.weight), device=module.weight.device)
    return module(ids).detach().to(module.weight.dtype)  # type: ignore[no-any-return]


def device_of(model: PreTrainedModel) -> torch.device:
    """The device of a model's token ids: that of its embeddings, or the one to which accelerate loads them.

    Raises:
        LoadError: They are on the meta device, and accelerate does not load them from there.
    """
    module = model.get_input_embeddings()
    if not module.weight.is_meta:
        return torch.device(module.weight.device)
    attached = [getattr(part, "_hf_hook", None) for part in (*module.modules(), model)]
    hooks = [part for hook in attached for part in getattr(hook, "hooks", [hook])]  # a sequential hook holds several
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    device = next((candidate for candidate in devices if candidate is not None), None)
    if device is None:
        raise LoadError(
            f"the weights of {type(model).__name__} are on the meta device, which holds no numbers",
            hint="load them onto a device, or offload them with accelerate (device_map), which loads them when needed",
        )
    return torch.device(device)


def has_virtual_tokens(model: PreTrainedModel) -> bool:
    """Whether a PEFT model puts trained vectors before each text, which a cache of its base does not hold."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def weights_state(model: PreTrainedModel) -> object:
    """Something that differs once weights are trained, loaded, merged or moved, or adapters are switched or scaled.

    It equals itself where weights are changed in ways that PyTorch does not count: through ``parameter.data`` in place.
    """
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_meta]
    states = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
    return states, _adapters(model)


def _adapters(model: PreTrainedModel) -> list[tuple[str, ...]]:
    """What peft's layers say of their adapters: which are active, merged and disabled, and by how much they count.

    Raises:
        AttributeError: The installed peft names them otherwise.
    """
    if "peft" not in sys.modules:  # which makes all adapters
        return []
    kind = importlib.import_module("peft.tuners.tuners_utils").BaseTunerLayer
    layers = [module for module in model.modules() if isinstance(module, kind)]
    return [
        tuple(
            map(repr, (one.active_adapters, one.merged_adapters, one.disable_adapters, getattr(one, "scaling", None)))
        )
        for one in layers
    ]


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
    """Whether a model has a recurrent state, which cannot be rolled back.

    Raises:
        LoadError: This version lacks the attribute that shows it.
    """
    return bool(_private(base_of(model), "_is_stateful"))


def cache_layers(config: PretrainedConfig) -> set[Layer]:
    """The kinds of cache layers of a configuration.

    Raises:
        LoadError: A layer is of no known kind.
    """
    if _RECURRENT.intersection(getattr(config.get_text_config(decoder=True), "layer_types", None) or ()):
        return {Layer.RECURRENT}  # versions before 5.4 make no layer of that kind in their cache
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
    """Whether a model's forward can have a fixed shape, in which no value steers it.

    Raises:
        LoadError: This version lacks the attribute that shows it.
    """
    return bool(_private(base_of(model), "_can_compile_fullgraph"))


def attention_of(model: PreTrainedModel) -> str:
    """The name of a model's implementation of attention, such as ``sdpa`` or ``eager``.

    Raises:
        LoadError: This version lacks the attribute that names it.
    """
    return str(_private(base_of(model).config, "_attn_implementation"))


def undivided(model: PreTrainedModel) -> set[str]:
    """The names of the classes whose modules stay on one device.

    Raises:
        LoadError: This version lacks the attribute that names them.
    """
    return set(_private(base_of(model), "_no_split_modules") or ())


def rope_parameters(config: PretrainedConfig) -> list[dict[str, Any]]:
    """The rotary embeddings of a text configuration: one for all layers, or one for each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    by_layer = [value for value in parameters.values() if isinstance(value, dict)]
    return by_layer or [parameters]


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name, which an older `transformers` may not have."""
    return name in inspect.signature(function).parameters


def unknown(what: str) -> LoadError:
    """The error for something that the installed version lacks.

    Args:
        what: Words that follow the name and number of the version.
    """
    return LoadError(f"transformers {transformers.__version__} {what}", hint=remedy())


def _names(forward: Callable[..., Any]) -> tuple[set[str], bool]:
    """The names of a function's parameters, without decorators, and whether it takes others by ``**``."""
    parameters = inspect.signature(forward).parameters
    return set(parameters), any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _private(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise unknown(f"no longer has {type(owner).__name__}.{name}") from error
