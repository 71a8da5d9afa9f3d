"""Members whose token embeddings cannot be read as numbers: methods that need none decode, the others refuse them."""

import importlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from deepen_llm import EnsembleLLM
from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.fusion import METHODS
from deepen_llm.fusion.needs import Needs
from tests.models import small

EMBEDDED = [name for name, method in METHODS.items() if Needs.EMBEDDING in method.needs]
bnb = pytest.mark.skipif(
    not is_bitsandbytes_available(), reason="bitsandbytes is not installed: pip install 'deepen-llm[quantized]'"
)
torchao = pytest.mark.skipif(
    not is_torchao_available(), reason="torchao is not installed: pip install 'deepen-llm[quantized]'"
)
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


def by_torchao(model: Any) -> Any:
    library: Any = importlib.import_module("torchao.quantization")
    library.quantize_(model, library.Int8WeightOnlyConfig(), lambda part, _: isinstance(part, torch.nn.Embedding))
    return model


def by_bitsandbytes(model: Any) -> Any:
    plain = model.get_input_embeddings()
    packed = importlib.import_module("bitsandbytes").nn.Embedding4bit(*plain.weight.shape)
    packed.load_state_dict(plain.state_dict())
    model.set_input_embeddings(packed.to("cpu"))
    return model


def in_eight_bits(model: Any) -> Any:
    table = model.get_input_embeddings()
    table.weight = torch.nn.Parameter(table.weight.to(torch.float8_e4m3fn), requires_grad=False)
    return model


def offloaded(model: Any) -> Any:
    return importlib.import_module("accelerate").cpu_offload(model, execution_device=torch.device("cpu"))


UNREADABLE = [
    pytest.param(by_torchao, "quantized", marks=torchao),
    pytest.param(by_bitsandbytes, "quantized", marks=bnb),
    pytest.param(offloaded, "offloaded"),
]


def models(change: Callable[[Any], Any]) -> list[Any]:
    """A pair, the second of which is changed."""
    first, (model, tokenizer) = small("llama", "byte_level_bpe"), small("llama", "sentencepiece_bpe", 1)
    return [first, (change(deepcopy(model)), tokenizer)]


@pytest.mark.parametrize(("change", "why"), UNREADABLE)
def test_a_method_that_needs_no_embeddings_decodes(change: Callable[[Any], Any], why: str) -> None:
    llm = EnsembleLLM(models(change))
    assert llm.members[1].embedding is None
    assert llm.members[1].device == torch.device("cpu")
    drawn = EnsembleLLM(models(lambda model: model), weights=[0.2, 0.8])
    out = EnsembleLLM(models(change), weights=[0.2, 0.8]).generate("The quick brown fox", max_new_tokens=8)
    assert len(out.tokens) == 8 or out.finish_reason == "stop"
    if why == "offloaded":  # the same numbers
        assert out == drawn.generate("The quick brown fox", max_new_tokens=8)


@pytest.mark.parametrize("method", EMBEDDED)
@pytest.mark.parametrize(("change", "why"), [*UNREADABLE, pytest.param(in_eight_bits, "quantized")])
def test_a_method_that_needs_embeddings_refuses(change: Callable[[Any], Any], why: str, method: str) -> None:
    with pytest.raises(ConfigError, match=f"the token embeddings of member LlamaForCausalLM are {why}") as caught:
        EnsembleLLM(models(change), fusion=method)
    assert "fusion='surface'" in caught.value.hint


def test_a_model_without_numbers_is_refused() -> None:
    model, tokenizer = small("llama", "byte_level_bpe")
    with pytest.raises(LoadError, match="on the meta device, which holds no numbers"):
        EnsembleLLM([(deepcopy(model).to("meta"), tokenizer)])
