"""Checkpoints as people have them: what `transformers` decodes loads, and what it cannot read says what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from deepen_llm import EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import LoadError
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.members.local.loading import load_member

PATH = specialists.paths()[0]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made: Path = shutil.copytree(PATH, tmp_path / "copy")
    return made


def edited(folder: Path, file: str, **given: Any) -> None:
    path = folder / file
    content = {**json.loads(path.read_text()), **given} if path.exists() else given
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def answer(folder: Path) -> str:
    return EnsembleLLM.from_pretrained([folder], device="cpu").chat(QUESTION).text


def test_an_old_configuration_may_name_its_dtype_as_torch_did(folder: Path) -> None:
    edited(folder, "config.json", dtype=None, torch_dtype="float32")
    member = load_member(MemberConfig(path=str(folder), device="cpu"))
    assert embedding_of(member).dtype == torch.float32
    assert answer(folder) == " Paris"


@pytest.mark.parametrize("lacking", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_the_end_of_text_may_stand_in_any_of_its_files(lacking: str, folder: Path) -> None:
    edited(folder, lacking, eos_token_id=None, eos_token=None)
    assert answer(folder) == " Paris"


def test_a_checkpoint_without_any_end_of_text_decodes_to_its_limit(folder: Path) -> None:
    edited(folder, "config.json", eos_token_id=None)
    edited(folder, "tokenizer_config.json", eos_token=None)
    (folder / "generation_config.json").unlink(missing_ok=True)
    out = EnsembleLLM.from_pretrained([folder], device="cpu").generate("The capital of", max_new_tokens=40)
    assert (len(out.tokens), out.finish_reason) == (40, "length")


def test_sharded_weights_load(folder: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="400KB")
    (folder / "model.safetensors").unlink()
    shards = list((tmp_path / "shards").glob("model*"))
    assert len(shards) > 2
    for file in shards:
        shutil.copy(file, folder)
    assert answer(folder) == " Paris"


def test_pickled_weights_alone_say_how_to_allow_them(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(LoadError) as caught:
        load_member(MemberConfig(path=str(folder), device="cpu"))
    assert "safetensors_only=False" in caught.value.hint
    member = load_member(MemberConfig(path=str(folder), device="cpu", safetensors_only=False))
    assert embedding_of(member).dim() == 2


@pytest.mark.parametrize("with_config", [False, True])
def test_a_gguf_file_is_told_from_a_checkpoint(with_config: bool, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-Q4_K_M.gguf")
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(LoadError, match=r"GGUF files such as model-Q4_K_M\.gguf are not read") as caught:
        load_member(MemberConfig(path=str(folder), device="cpu"))
    assert "safetensors" in caught.value.hint
    with pytest.raises(LoadError, match=r"model-Q4_K_M\.gguf is a file"):
        load_member(MemberConfig(path=str(folder / "model-Q4_K_M.gguf"), device="cpu"))


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "hqq"])
def test_a_quantized_checkpoint_without_its_package_names_it(method: str, folder: Path) -> None:
    edited(folder, "config.json", quantization_config={"quant_method": method, "bits": 4, "group_size": 32})
    with pytest.raises(LoadError) as caught:
        load_member(MemberConfig(path=str(folder), device="cpu"))
    assert "install what the message names" in caught.value.hint
