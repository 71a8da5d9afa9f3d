"""Members in few bits: loaded so, or from checkpoints that are so already."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from deepen_llm import EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.members.local import quantization
from deepen_llm.members.local.checkpoint import Checkpoint
from deepen_llm.members.local.loading import load_member

bnb = pytest.mark.skipif(
    not is_bitsandbytes_available(), reason="bitsandbytes is not installed: pip install 'deepen-llm[quantized]'"
)
torchao = pytest.mark.skipif(
    not is_torchao_available(), reason="torchao is not installed: pip install 'deepen-llm[quantized]'"
)
QUANTIZATIONS = [  # with the most that a log-probability may be off, in nats
    pytest.param("bnb-int8", 0.1, marks=bnb),
    pytest.param("bnb-nf4", 0.5, marks=bnb),
    pytest.param("torchao-int8", 0.1, marks=torchao),
]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
PATHS = [str(path) for path in specialists.paths()]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def score(llm: EnsembleLLM) -> torch.Tensor:
    return torch.tensor([one.logprob for one in llm.score("The capital of France is", " Paris.").tokens])


@pytest.mark.parametrize(("name", "off"), QUANTIZATIONS)
def test_a_quantized_ensemble_answers_as_the_plain_one(name: Any, off: float, tmp_path: Path) -> None:
    plain = EnsembleLLM.from_pretrained(PATHS, fusion="bayes", device="cpu")
    llm = EnsembleLLM.from_pretrained(PATHS, fusion="bayes", device="cpu", quantization=name)
    for member, full in zip(llm.members, plain.members, strict=True):
        kinds = {type(part).__name__ for part in member.model.modules()}  # type: ignore[attr-defined]
        weights = {type(one).__name__ for one in member.model.parameters()}  # type: ignore[attr-defined]
        assert (kinds | weights) & {"Linear8bitLt", "Linear4bit", "Int8Tensor"}
        assert torch.equal(embedding_of(member), embedding_of(full))
    assert llm.chat(QUESTION).text == plain.chat(QUESTION).text == " Paris"
    torch.testing.assert_close(score(llm), score(plain), atol=off, rtol=0)
    llm.save_config(tmp_path / "ensemble.yaml")
    again = EnsembleLLM.from_config(tmp_path / "ensemble.yaml")
    assert [one.source.quantization for one in again.members if one.source] == [name] * len(PATHS)
    assert torch.equal(score(again), score(llm))


@pytest.mark.parametrize(("name", "off"), QUANTIZATIONS)
def test_a_checkpoint_that_is_quantized_already(name: Any, off: float, tmp_path: Path) -> None:
    made = load_member(MemberConfig(path=PATHS[0], device="cpu", quantization=name))
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    llm = EnsembleLLM.from_pretrained([tmp_path, *PATHS[1:]], fusion="bayes", device="cpu")
    assert llm.chat(QUESTION).text == " Paris"
    torch.testing.assert_close(
        score(llm), score(EnsembleLLM.from_pretrained(PATHS, fusion="bayes", device="cpu")), atol=off, rtol=0
    )
    on_disk = (tmp_path / "model.safetensors").stat().st_size
    assert Checkpoint(MemberConfig(path=str(tmp_path))).footprint().weights == on_disk
    with pytest.raises(ConfigError, match="is quantized already"):
        load_member(MemberConfig(path=str(tmp_path), quantization=name))


@pytest.mark.parametrize("name", ["bnb-int8", "bnb-nf4", "torchao-int8"])
def test_a_quantized_footprint_is_smaller_but_for_embedding_and_head(name: Any) -> None:
    plain, few = (
        Checkpoint(MemberConfig(path=PATHS[0], dtype="float32", quantization=given)).footprint()
        for given in (None, name)
    )
    with torch.no_grad():
        model: Any = load_member(MemberConfig(path=PATHS[0], dtype="float32", device="cpu")).model
    kept = model.get_input_embeddings().weight.nbytes + model.get_output_embeddings().weight.nbytes
    assert kept < few.weights < kept + 0.3 * (plain.weights - kept)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "_PACKAGES", {"bnb": ("bitsandbytes", lambda: False)})
    with pytest.raises(ConfigError, match="needs bitsandbytes, which is not installed or too old") as caught:
        EnsembleLLM.from_pretrained(PATHS, quantization="bnb-nf4")
    assert "deepen-llm[quantized]" in caught.value.hint


def test_a_quantization_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"quantization='int3': Input should be 'bnb-int8', 'bnb-nf4' or"):
        EnsembleLLM.from_pretrained(PATHS, quantization="int3")  # type: ignore[arg-type]


def test_a_quantized_checkpoint_of_a_package_that_is_missing_names_it(tmp_path: Path) -> None:
    shutil.copytree(PATHS[0], tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("{", '{"quantization_config": {"quant_method": "aqlm"},', 1))
    with pytest.raises(LoadError, match="aqlm") as caught:
        EnsembleLLM.from_pretrained([tmp_path], device="cpu")
    assert "install what the message names" in caught.value.hint
