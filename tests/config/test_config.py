"""Configurations: to YAML and back, and onto devices."""

from pathlib import Path

import pytest
import torch
import yaml

from deepen_llm import Bayes, Deepen, EnsembleConfig, EnsembleLLM, GenerationOptions, MemberConfig
from deepen_llm.errors import ConfigError
from tests.models import small


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkpoints with different vocabularies."""
    made = []
    for architecture, kind in (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe")):
        folder = tmp_path_factory.mktemp(architecture)
        for part in small(architecture, kind):
            part.save_pretrained(folder)
        made.append(folder)
    return made


def test_an_ensemble_comes_back_from_its_file(folders: list[Path], tmp_path: Path) -> None:
    llm = EnsembleLLM.from_pretrained(
        folders,
        main_model=1,
        weights=[1, 3],
        fusion=Deepen(relr=0.25, memory_budget="2GB"),
        eos_policy="main",
        generation={"max_new_tokens": 5, "stop": "."},
    )
    file = tmp_path / "ensemble.yaml"
    llm.save_config(file)
    again = EnsembleLLM.from_pretrained(file)
    assert again.settings == llm.settings
    assert again.generate("The quick") == llm.generate("The quick")
    assert len(again.generate("The quick").tokens) == 5
    written = yaml.safe_load(file.read_text())
    assert written["fusion"] == {"method": "deepen", "relr": 0.25, "memory_budget": 2_000_000_000}
    assert "batch_size" not in written


def test_a_members_path_is_taken_from_beside_the_file(folders: list[Path]) -> None:
    file = folders[0].parent / "beside.yaml"
    file.write_text(yaml.safe_dump({"members": [folder.name for folder in folders], "fusion": "bayes"}))
    llm = EnsembleLLM.from_config(file)
    assert [member.name for member in llm.members] == [folder.name for folder in folders]
    assert llm.settings.fusion == Bayes()


def test_members_in_memory_have_no_file_to_come_back_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lives in memory only"):
        EnsembleLLM([small("llama", "byte_level_bpe")]).save_config(tmp_path / "ensemble.yaml")


def test_a_file_that_cannot_be_written(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        EnsembleLLM.from_pretrained(folders).save_config(tmp_path / "nowhere" / "ensemble.yaml")


def test_a_relative_path_is_saved_for_everywhere(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders[0].parent)
    llm = EnsembleLLM.from_pretrained(
        [folder.name for folder in folders], dtype=torch.float32, device=torch.device("cpu")
    )
    llm.save_config(tmp_path / "ensemble.yaml")
    monkeypatch.chdir(tmp_path)
    assert EnsembleLLM.from_config("ensemble.yaml").generate("The quick", max_new_tokens=3) == llm.generate(
        "The quick", max_new_tokens=3
    )
    assert "gpt_neox" in repr(llm)


def test_a_configuration_compares_by_value() -> None:
    assert EnsembleConfig(members=["a"]) == EnsembleConfig(members=(MemberConfig(path="a"),))
    assert GenerationOptions(stop="a") == GenerationOptions(stop=("a",))


def test_generation_options_of_the_ensemble_hold_until_a_call_says_otherwise(folders: list[Path]) -> None:
    llm = EnsembleLLM.from_pretrained(folders, generation=GenerationOptions(max_new_tokens=3))
    assert len(llm.generate("The").tokens) == 3
    assert len(llm.generate("The", max_new_tokens=2).tokens) == 2


def test_a_draft_model_comes_back_from_its_file(folders: list[Path], tmp_path: Path) -> None:
    llm = EnsembleLLM.from_pretrained(folders, fusion="bayes", draft_tokens=4, draft_model=folders[0])
    llm.save_config(tmp_path / "ensemble.yaml")
    again = EnsembleLLM.from_config(tmp_path / "ensemble.yaml")
    assert again.config == llm.config
    assert again.draft_model is not None
    assert again.draft_model is not again.main_model
    assert again.draft_model.name == folders[0].name
    plain = EnsembleLLM.from_pretrained(folders, fusion="bayes")
    assert again.generate("The quick", max_new_tokens=12) == plain.generate("The quick", max_new_tokens=12)


def test_a_draft_models_path_is_taken_from_beside_the_file(folders: list[Path], tmp_path: Path) -> None:
    file = folders[0].parent / "drafting.yaml"
    names = [folder.name for folder in folders]
    for draft_model in (names[0], {"path": names[0], "dtype": "float32"}):
        file.write_text(yaml.safe_dump({"members": names, "draft_tokens": 2, "draft_model": draft_model}))
        config = EnsembleConfig.load(file)
        assert config.draft_model is not None
        assert config.draft_model.path == str(folders[0])
        config.save(tmp_path / "elsewhere.yaml")
        assert EnsembleConfig.load(tmp_path / "elsewhere.yaml") == config
    assert Path(yaml.safe_load((tmp_path / "elsewhere.yaml").read_text())["draft_model"]["path"]).is_absolute()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # by torch itself
def test_a_draft_model_by_path_is_loaded_as_the_main_model_is(folders: list[Path]) -> None:
    llm = EnsembleLLM.from_pretrained(
        folders, draft_tokens=2, draft_model=folders[0], dtype="float32", device=["cpu", "cpu:0"], compile=True
    )
    loaded = [llm.members[0].source, llm.draft_model and llm.draft_model.source]
    assert [one and (one.dtype, one.device, one.compile) for one in loaded] == [("float32", "cpu", True)] * 2


def test_a_draft_model_with_another_vocabulary_is_told(folders: list[Path]) -> None:
    with pytest.raises(ConfigError, match="another vocabulary than the main model"):
        EnsembleLLM.from_pretrained(folders, draft_tokens=2, draft_model=folders[1])
