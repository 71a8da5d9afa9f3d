"""Where members lie, and in what numbers."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from deepen_llm import EnsembleLLM, MemberConfig
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.members.local.checkpoint import Checkpoint
from deepen_llm.members.local.placement import free_gpu_memory
from tests.gpu.ensembles import PATHS, PROMPTS, QUESTION, ensemble

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]
accelerated = pytest.mark.skipif(find_spec("accelerate") is None, reason="accelerate is not installed")
several = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
QUANTIZATIONS = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"{package} is not installed"))
    for name, package, there in (
        ("bnb-int8", "bitsandbytes", is_bitsandbytes_available()),
        ("bnb-nf4", "bitsandbytes", is_bitsandbytes_available()),
        ("torchao-int8", "torchao", is_torchao_available()),
    )
]


@pytest.mark.parametrize("fusion", ["deepen", "bayes", "surface"])
def test_members_may_lie_on_different_devices(fusion: str, device: str) -> None:
    on_cpu = ensemble("cpu", fusion).generate(PROMPTS, max_new_tokens=8)
    for devices in ((device, "cpu", "cpu"), ("cpu", device, device)):
        llm = ensemble(devices, fusion)
        out = llm.generate(PROMPTS, max_new_tokens=8)
        assert [one.tokens for one in out] == [one.tokens for one in on_cpu]
        assert llm.generate(PROMPTS, max_new_tokens=8, temperature=1, seed=1, trace=True)


def test_auto_takes_the_gpu_where_there_is_one(device: str) -> None:
    llm = ensemble("auto")
    assert {member.device.type for member in llm.members} == {device}
    assert [member.source.device for member in llm.members if member.source] == ["auto"] * 3
    assert bool(free_gpu_memory()) == (device == "cuda")
    assert llm.chat(QUESTION).text == " Paris"


def test_a_footprint_is_what_loading_takes(device: str) -> None:
    def taken() -> int:
        return torch.cuda.memory_allocated() if device == "cuda" else 0

    config, before = MemberConfig(path=PATHS[0], dtype="float32", device=device), taken()
    member = EnsembleLLM.from_pretrained([config]).members[0]
    expected = Checkpoint(config).footprint().weights
    assert embedding_of(member).nbytes < expected
    if device == "cuda":
        assert 0.9 * expected < taken() - before < 1.5 * expected  # small tensors take whole blocks


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("fusion", ["deepen", "bayes", "surface"])
def test_half_precision_decodes(dtype: str, fusion: str, device: str) -> None:
    llm = ensemble(device, fusion, dtype)
    assert {embedding_of(member).dtype for member in llm.members} == {getattr(torch, dtype)}
    assert llm.chat(QUESTION).text == " Paris"
    out = llm.generate(PROMPTS, max_new_tokens=8, temperature=0.7, seed=1)
    assert all(one.tokens for one in out)


@accelerated
@pytest.mark.parametrize("place", ["named", "auto"])
def test_a_device_map_spreads_a_member(place: str, device: str) -> None:
    device_map: Any = {"": device} if place == "named" else "auto"
    members = [MemberConfig(path=path, device_map=device_map, dtype="bfloat16") for path in PATHS]
    llm = EnsembleLLM.from_pretrained(members, fusion="bayes")
    assert {embedding_of(member).dtype for member in llm.members} == {torch.bfloat16}
    assert {member.device.type for member in llm.members} == {device}
    assert llm.chat(QUESTION).text == " Paris"


@accelerated
@several
def test_a_member_may_be_split_over_gpus() -> None:
    members = [MemberConfig(path=path, device_map="balanced", dtype="float32") for path in PATHS]
    llm = EnsembleLLM.from_pretrained(members, fusion="bayes")
    assert len({one.device for one in llm.members[0].model.parameters()}) > 1  # type: ignore[attr-defined]
    expected = ensemble("cpu").generate(PROMPTS, max_new_tokens=8)
    assert [one.tokens for one in llm.generate(PROMPTS, max_new_tokens=8)] == [one.tokens for one in expected]


@accelerated
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_quantized_members_decode(quantization: Any, device: str) -> None:
    llm = ensemble(device, quantization=quantization)
    assert {member.device.type for member in llm.members} == {device}
    assert llm.chat(QUESTION).text == " Paris"
