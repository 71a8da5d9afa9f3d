"""Adapters as members: loaded where peft is installed, else an error that says what to do."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepen_llm import EnsembleConfig, EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import LoadError
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.members.local import files
from deepen_llm.members.local.checkpoint import Checkpoint
from deepen_llm.members.local.limits import declared_window
from deepen_llm.members.local.loading import load_member

PATHS = [str(path) for path in specialists.paths()]
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft's own
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True` and a tied layer:UserWarning"),
]


def folder_of(tmp_path: Path, *, base: str | None = PATHS[0], kind: str = "LORA", tokenizer: bool = True) -> Path:
    """An adapter's folder as peft writes it, but for its weights."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "base_model_name_or_path": base}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    if tokenizer:
        AutoTokenizer.from_pretrained(PATHS[0]).save_pretrained(tmp_path)
    return tmp_path


def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _: None)


@pytest.mark.parametrize("tokenizer", [True, False])
def test_an_adapter_without_peft_says_what_it_is(
    tokenizer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_peft(monkeypatch)
    folder = folder_of(tmp_path, tokenizer=tokenizer)
    with pytest.raises(LoadError, match=rf"{folder} is an adapter \(LORA\) of {PATHS[0]}, and .* needs peft") as caught:
        EnsembleLLM.from_pretrained([folder, PATHS[1]])
    for remedy in ("pip install 'deepen-llm[adapters]'", "give (model, tokenizer)", "merge"):
        assert remedy in caught.value.hint


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"])
def test_an_adapter_of_virtual_tokens_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _: True)
    with pytest.raises(LoadError, match="adds virtual tokens"):
        EnsembleLLM.from_pretrained([folder_of(tmp_path, kind=kind), PATHS[1]])


@pytest.mark.parametrize(("base", "says"), [("./nowhere", "which is no folder here"), (None, "does not name its base")])
def test_an_adapter_whose_base_is_missing_says_so(
    base: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _: True)
    with pytest.raises(LoadError, match=says) as caught:
        load_member(MemberConfig(path=str(folder_of(tmp_path, base=base)), device="cpu"))
    assert "base_model_name_or_path" in caught.value.hint


def test_an_adapters_window_is_its_bases(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    adapted, plain = (EnsembleConfig(members=[path, PATHS[1]]) for path in (str(folder), PATHS[0]))
    assert declared_window(adapted.taking_part) == declared_window(plain.taking_part)


def trained(config: Any) -> Any:
    """A specialist with an adapter that changes what it says."""
    peft: Any = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(PATHS[0], dtype="float32"), config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter) if "modules_to_save" not in name else 0.05
    return model.eval()


def configs() -> dict[str, Any]:
    if find_spec("peft") is None:
        return {}
    peft: Any = pytest.importorskip("peft")
    layers = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
    embedding = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "embed_tokens"]}
    return {
        "lora": peft.LoraConfig(r=4, **layers),
        "dora": peft.LoraConfig(r=4, use_dora=True, **layers),
        "embedding": peft.LoraConfig(r=4, **embedding),
        "saved": peft.LoraConfig(r=4, modules_to_save=["lm_head"], **layers),
        "loha": peft.LoHaConfig(r=4, **layers),
        "ia3": peft.IA3Config(feedforward_modules=["down_proj"], **layers),
    }


CONFIGS = configs()


@needs_peft
@pytest.mark.parametrize("kind", list(CONFIGS))
def test_an_adapters_folder_gives_what_peft_gives(kind: str, tmp_path: Path) -> None:
    model, tokenizer = trained(CONFIGS[kind]), AutoTokenizer.from_pretrained(PATHS[0])
    model.save_pretrained(tmp_path)
    loaded = load_member(MemberConfig(path=str(tmp_path), device="cpu"))
    prompt = loaded.encode_prompt("The capital of France is")
    with torch.inference_mode():
        own = model(torch.tensor([prompt.ids])).logits[0, -1]
    torch.testing.assert_close(
        loaded.open([prompt]).logits()[0, : len(tokenizer)], own[: len(tokenizer)], atol=1e-3, rtol=1e-3
    )
    pairs = [EnsembleLLM([one, other()]) for one in ((model, tokenizer), loaded)]
    outs = [llm.generate("The capital of France is", max_new_tokens=8) for llm in pairs]
    assert outs[0].text == outs[1].text
    assert torch.allclose(embedding_of(pairs[0].members[0]), embedding_of(loaded), atol=1e-5)


def other() -> Any:
    return load_member(MemberConfig(path=PATHS[1], device="cpu"))


@needs_peft
def test_an_adapter_loads_beside_others_and_its_place_is_known(tmp_path: Path) -> None:
    trained(CONFIGS["lora"]).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(PATHS[0]).save_pretrained(tmp_path)
    llm = EnsembleLLM.from_pretrained([tmp_path, PATHS[1]], device="cpu")
    assert llm.generate("The capital of France is", max_new_tokens=4).tokens
    whole, base = (Checkpoint(MemberConfig(path=path)).footprint() for path in (str(tmp_path), PATHS[0]))
    assert whole.weights == base.weights + (tmp_path / "adapter_model.safetensors").stat().st_size
    assert load_member(MemberConfig(path=str(tmp_path), device="cpu")).name == tmp_path.name


@needs_peft
def test_an_adapter_that_does_not_fit_its_base_is_refused(tmp_path: Path) -> None:
    trained(CONFIGS["lora"]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": PATHS[1]}))
    with pytest.raises(LoadError):
        load_member(MemberConfig(path=str(tmp_path), device="cpu"))
    shutil.rmtree(tmp_path)


@needs_peft
def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    trained(CONFIGS["lora"]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "adapter_model.safetensors")
    with pytest.raises(LoadError, match="is not whole: Found missing adapter keys"):
        load_member(MemberConfig(path=str(tmp_path), device="cpu"))


@needs_peft
def test_pickled_adapter_weights_are_refused(tmp_path: Path) -> None:
    trained(CONFIGS["lora"]).save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(LoadError, match=r"has no adapter_model\.safetensors"):
        load_member(MemberConfig(path=str(tmp_path), device="cpu"))


@needs_peft
def test_a_model_with_virtual_tokens_is_refused_in_memory() -> None:
    peft: Any = pytest.importorskip("peft")
    model = AutoModelForCausalLM.from_pretrained(PATHS[0], dtype="float32")
    tuned = peft.get_peft_model(model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(LoadError, match="adds virtual tokens"):
        EnsembleLLM([(tuned, AutoTokenizer.from_pretrained(PATHS[0]))])
