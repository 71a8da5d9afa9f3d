"""Everything that a configuration writes is read back as the same configuration, or is not written at all."""

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deepen_llm import Bayes, Deepen, EnsembleConfig, EnsembleLLM, GenerationOptions, MemberConfig
from deepen_llm.config import EnsembleSettings
from deepen_llm.engine.options import ChatOptions
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import EntropyWeights, PromptWeights
from deepen_llm.fusion.gate import Gate
from deepen_llm.specialists import paths
from deepen_llm.structure.response_format import ResponseFormat

# Texts that YAML could take for something else, and characters that it may not hold as they are.
TEXTS = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["yes", "null", "1e3", "~", "- a", "{", "\\", "\n", "\x00", "\x85", "\u2028", "\ufeff", "天", "👩‍💻", "#", ": "]
)
NUMBERS = st.floats(min_value=5e-324, max_value=1e308, allow_nan=False) | st.integers(1, 2**62)
SHARES = st.floats(min_value=1e-300, max_value=1.0)
FORMATS = st.sampled_from([None, {"type": "json_object"}, {"type": "array", "items": {"type": "integer"}}, int])
VARIABLES = st.dictionaries(
    st.sampled_from(["enable_thinking", "größe"]), st.none() | st.booleans() | TEXTS | st.integers(-9, 9), max_size=2
)
GENERATION: dict[str, st.SearchStrategy[Any]] = {
    "max_new_tokens": st.integers(1, 2**40),
    "temperature": st.just(0) | NUMBERS,
    "top_p": SHARES,
    "top_k": st.integers(0, 2**40),
    "min_p": SHARES,
    "seed": st.none() | st.integers(0, 2**63 - 1),
    "stop": st.lists(TEXTS, max_size=3) | TEXTS,
    "stop_token_ids": st.lists(st.integers(0, 2**31), max_size=3),
    "chat_template_kwargs": st.dictionaries(
        st.sampled_from(["enable_thinking", "größe"]),
        st.none() | st.booleans() | TEXTS | st.integers(-9, 9),
        max_size=2,
    ),
    "repetition_penalty": NUMBERS,
    "token_healing": st.booleans(),
    "n": st.integers(1, 9),
    "logprobs": st.none() | st.integers(0, 9),
    "trace": st.booleans(),
}
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "main_model": st.integers(0, 9),
    "weights": st.one_of(
        st.none(),
        st.lists(st.just(0.0) | NUMBERS, min_size=1, max_size=3),
        st.sampled_from(["prompt", "entropy", "track", {"by": "prompt", "per": "byte", "tau": 1e-9}]),
        st.builds(PromptWeights, tau=NUMBERS),
        st.builds(EntropyWeights, tau=NUMBERS, base=st.none() | st.lists(SHARES, min_size=2, max_size=2).map(tuple)),
    ),
    "fusion": st.one_of(
        st.sampled_from(["bayes", "deepen", {"method": "deepen", "relr": 0.1}]),
        st.builds(Deepen, relr=SHARES, memory_budget=st.sampled_from(["2GB", 10**9])),
        st.builds(Bayes, rounds=st.integers(1, 100), self_mass=st.floats(0.01, 0.99), anchors=st.just("joint")),
    ),
    "gate": st.one_of(
        st.sampled_from(["always", "unsure", "boundary", "safe"]), st.builds(Gate, when=st.just("unsure"), below=SHARES)
    ),
    "eos_policy": st.sampled_from(["fused", "main"]),
    "batch_size": st.integers(1, 2**40),
    "max_waiting": st.none() | st.integers(0, 100),
    "on_member_failure": st.sampled_from(["raise", "degrade"]),
    "draft_tokens": st.integers(1, 32),
    "generation": st.fixed_dictionaries({}, optional=GENERATION)
    | st.fixed_dictionaries({"response_format": FORMATS, "max_new_tokens": st.integers(1, 99)}),
}
# Of no file that there could be: a local path is made absolute.
NAMES = TEXTS.filter(lambda text: "\x00" not in text and not text.startswith("~") and bool(text.strip("./")))
MEMBER: dict[str, st.SearchStrategy[Any]] = {
    "name": st.none() | TEXTS,
    "revision": st.none() | TEXTS,
    "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
    "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    "device_map": st.none() | st.just("auto") | st.dictionaries(TEXTS, st.integers(0, 3) | st.just("cpu")),
    "quantization": st.sampled_from([None, "bnb-int8", "bnb-nf4", "torchao-int8"]),
    "compile": st.booleans(),
    "trust_remote_code": st.booleans(),
    "safetensors_only": st.booleans(),
    "chat_template_kwargs": VARIABLES,
}
MEMBERS = st.fixed_dictionaries({"path": NAMES}, optional=MEMBER)
CONFIGS = st.fixed_dictionaries(
    {"members": st.lists(MEMBERS, min_size=1, max_size=3), "draft_tokens": SETTINGS["draft_tokens"]},
    optional={name: one for name, one in SETTINGS.items() if name != "draft_tokens"}
    | {"draft_model": st.none() | MEMBERS},
)


class Mean(Bayes):
    """A method of one's own under another's name."""


class Named(Bayes):
    """A method of one's own under a name that nobody knows."""

    method: Literal["named"] = "named"  # type: ignore[assignment]


class Never(Gate):
    """A gate of one's own."""


OWN = [
    ({"fusion": Mean()}, r"a fusion method of your own \(Mean\)"),
    ({"fusion": Named()}, r"a fusion method of your own \(Named\)"),
    ({"gate": Never()}, r"a gate of your own \(Never\)"),
    ({"generation": ChatOptions(tools=[])}, "generation options of the class ChatOptions"),
]


def test_the_strategies_know_every_field() -> None:
    assert set(SETTINGS) == set(EnsembleSettings.model_fields)
    assert {*GENERATION, "response_format"} == set(GenerationOptions.model_fields)
    assert {*MEMBER, "path"} == set(MemberConfig.model_fields)


@settings(max_examples=60, deadline=None, database=None)
@given(asked=CONFIGS)
def test_every_configuration_comes_back_from_its_file(
    asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config, file = EnsembleConfig(**asked), tmp_path_factory.getbasetemp() / "comes-back.yaml"
    config.save(file)
    assert EnsembleConfig.load(file) == plain(config)


def plain(config: EnsembleConfig) -> EnsembleConfig:
    """The configuration with a Python type as the schema that a file holds of it."""
    asked = config.generation.response_format
    generation = config.generation.model_copy(update={"response_format": asked and ResponseFormat(asked.schema)})
    return config.model_copy(update={"generation": generation})


@pytest.mark.parametrize("folder", ["plain", "größe", "模型 one", "a: b #c", "-", "~tilde", "null"])
def test_a_members_folder_may_have_any_name(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    config = EnsembleConfig(members=[f"./{folder}", tmp_path / folder], draft_tokens=1, draft_model=f"./{folder}")
    config.save(tmp_path / folder / "ensemble.yaml")
    monkeypatch.chdir("/")
    read = EnsembleConfig.load(tmp_path / folder / "ensemble.yaml")
    assert [one and one.path for one in (*read.members, read.draft_model)] == [str(tmp_path / folder)] * 3
    assert read.members[0].label == folder


def test_a_hub_id_that_names_a_folder_beside_the_file_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "gpt2").mkdir()
    with pytest.raises(ConfigError, match=r"(?s)would be read with members=.*write the file elsewhere"):
        EnsembleConfig(members=["gpt2"]).save(tmp_path / "ensemble.yaml")
    assert not (tmp_path / "ensemble.yaml").exists()


@pytest.mark.parametrize(("asked", "says"), OWN)
def test_what_is_of_ones_own_is_refused_when_it_is_saved(asked: dict[str, Any], says: str, tmp_path: Path) -> None:
    llm = EnsembleLLM.from_pretrained(paths()[:2], **asked)
    with pytest.raises(ConfigError, match=f"no configuration file holds {says}.*\n.*keep the code"):
        llm.save_config(tmp_path / "ensemble.yaml")
    assert not list(tmp_path.iterdir())
    assert llm.config.own_parts
    assert EnsembleLLM.from_config(llm.config).settings == llm.settings


def test_a_file_names_no_class(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yaml"
    for method in ("tests.config.test_files:Mean", "!!python/name:tests.config.test_files.Mean"):
        file.write_text(yaml.safe_dump({"members": ["a"]}) + f"fusion: {method}\n")
        with pytest.raises(ConfigError, match=r"unknown fusion method|cannot be read"):
            EnsembleConfig.load(file)


@pytest.mark.parametrize("text", ["members: [a]\nmembers: [b]", "members:\n- {path: a, path: b}", "1: a\n1: b"])
def test_a_key_that_is_there_twice_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="is there twice"):
        EnsembleConfig.load(file)
