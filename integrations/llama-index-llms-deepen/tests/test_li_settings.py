"""What can be set, what is refused, and what can be written down and read back."""

import copy
import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from deepen_li_members import REFUSING, speaking
from llama_index.core import Settings
from llama_index.core.llms import LLM, ChatMessage, ImageBlock, TextBlock
from llama_index.llms.deepen import DeepenLLM, base, source

from deepen_llm import Deepen, EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import ConfigError, ContextLengthError, LoadError, PromptError

MEMBERS = specialists.paths()[:2]
QUESTION = "The capital of France is"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "from nowhere"),
        ({"members": MEMBERS, "config": "x.yaml"}, "members and config"),
        ({"members": []}, "0 members"),
        ({"members": MEMBERS, "temperatur": 1}, "did you mean 'temperature'"),
        ({"members": MEMBERS, "temperature": -1}, "temperature=-1"),
        ({"members": MEMBERS, "temperature": "hot"}, "temperature='hot'"),
        ({"members": MEMBERS, "stop": [""]}, "stop"),
        ({"members": MEMBERS, "weights": [1]}, "1 weights for 2 members"),
        ({"members": MEMBERS, "main_model": 5}, "main_model=5"),
        ({"members": MEMBERS, "fusion": "mean"}, "unknown fusion method 'mean'"),
        ({"members": MEMBERS, "fusion": {"method": "deepen", "rate": 1}}, "rate"),
        ({"members": MEMBERS, "eos_policy": "both"}, "eos_policy"),
        ({"members": [{"path": str(MEMBERS[0]), "devise": "cpu"}]}, "did you mean 'device'"),
        ({"members": [{"path": str(MEMBERS[0]), "device": "warp"}]}, "device 'warp'"),
        ({"config": "/nowhere/ensemble.yaml"}, "cannot be read"),
        ({"ensemble": "meta-llama/Llama-3.1-8B"}, "is no EnsembleLLM"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_at_construction(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        DeepenLLM(**given)
    assert caught.value.hint


def test_a_missing_folder_is_told_at_construction() -> None:
    with pytest.raises(LoadError, match="it is no folder"):
        DeepenLLM(members=["./nowhere"])


def test_settings_beside_a_live_ensemble_are_refused() -> None:
    with pytest.raises(ConfigError, match="fusion beside ensemble="):
        DeepenLLM(ensemble=speaking("x"), fusion="bayes")


def test_nothing_is_loaded_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> EnsembleLLM:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(source.EnsembleLLM, "from_config", refuse)
    llm = Settings.llm = DeepenLLM(members=MEMBERS, fusion="bayes", weights=[2, 1])
    assert (llm.metadata.context_window, llm.metadata.num_output) == (512, 256)
    assert llm.metadata.model_name == "atlas+curie"
    assert llm.to_payload()["model_name"] == "atlas+curie"
    llm.to_json()
    copy.deepcopy(llm)
    with pytest.raises(AssertionError, match="weights were loaded"):
        llm.complete(QUESTION)


def test_metadata_is_the_same_before_and_after_loading() -> None:
    llm = DeepenLLM(members=MEMBERS)
    before = llm.metadata
    assert DeepenLLM(ensemble=llm.load()).metadata == before


@pytest.mark.parametrize(
    "given",
    [
        {
            "members": [str(MEMBERS[0]), MEMBERS[1]],
            "fusion": Deepen(relr=0.3),
            "stop": "\n",
            "temperature": 0.5,
            "seed": 1,
        },
        {"members": [MemberConfig(path=str(MEMBERS[0]), name="geo"), {"path": str(MEMBERS[1])}], "weights": (2, 1)},
        {"members": MEMBERS[0], "system_prompt": "Be brief."},
    ],
    ids=["objects", "fields", "one"],
)
def test_serialised_forms_load_back(given: dict[str, Any]) -> None:
    llm = DeepenLLM(**given)
    written = llm.to_json()
    again = DeepenLLM.from_json(written)
    assert json.loads(again.to_json()) == json.loads(written)
    assert again.class_name() == "DeepenLLM" == json.loads(written)["class_name"]
    assert again.metadata == llm.metadata
    assert DeepenLLM.from_dict(llm.to_dict()).complete(QUESTION, max_new_tokens=3).text == (
        llm.complete(QUESTION, max_new_tokens=3).text
    )


def test_a_configuration_file_says_everything(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yaml"
    live = EnsembleLLM.from_pretrained(MEMBERS, fusion="bayes", generation={"max_new_tokens": 2, "stop": ["."]})
    live.save_config(file)
    llm = DeepenLLM.from_json(DeepenLLM(config=file).to_json())
    assert llm.metadata.num_output == 2
    assert llm.complete(QUESTION).text == live.generate(QUESTION).text
    with pytest.raises(ConfigError, match="weights beside config="):
        DeepenLLM(config=file, weights=[1, 2])


def test_a_live_ensemble_is_left_out_of_serialised_forms_and_shared_by_copies() -> None:
    llm = DeepenLLM(ensemble=speaking("x"))
    assert copy.deepcopy(llm).load() is llm.model_copy().load() is llm.load()
    written = llm.to_json()
    assert "ensemble" not in json.loads(written)
    with pytest.raises(ConfigError, match="from nowhere"):
        DeepenLLM.from_json(written)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"max_tokens": 3}, "max_tokens"), ({"temperature": -1}, "temperature=-1"), ({"tools": 3}, "tools")],
)
def test_bad_options_of_a_call_are_the_cores_errors(given: dict[str, Any], told: str) -> None:
    llm = DeepenLLM(ensemble=speaking("x"))
    with pytest.raises(ConfigError, match=told):
        llm.chat([ChatMessage("Hello.")], **given)
    with pytest.raises(ConfigError, match=told):
        list(llm.stream_complete("Hello.", **given))


def test_an_image_is_refused() -> None:
    message = ChatMessage(blocks=[TextBlock(text="What is this?"), ImageBlock(image=b"GIF89a")])
    with pytest.raises(PromptError, match="image block"):
        DeepenLLM(ensemble=speaking("x")).chat([message])


def test_an_order_that_a_template_refuses_is_told() -> None:
    llm = DeepenLLM(ensemble=speaking("x", template=REFUSING))
    for call in (llm.chat, llm.messages_to_prompt):
        with pytest.raises(PromptError, match="roles must take turns"):
            call([ChatMessage("Hello."), ChatMessage("Hello?")])


def test_a_prompt_without_room_is_told() -> None:
    with pytest.raises(ContextLengthError, match="context window"):
        DeepenLLM(ensemble=speaking("x", windows=(64, 64))).chat([ChatMessage("word " * 100)])


def test_roles_have_the_names_that_templates_know() -> None:
    heard: list[str] = []
    llm = DeepenLLM(ensemble=speaking(lambda prompt: heard.append(prompt) or " Yes."))
    llm.chat([ChatMessage("Be brief.", role="developer"), ChatMessage("Well?"), ChatMessage("So.", role="model")])
    assert heard[0].endswith("<system> Be brief.\n<user> Well?\n<assistant> So.\n<assistant>")


def test_the_docstring_runs() -> None:
    assert doctest.testmod(base) == doctest.TestResults(failed=0, attempted=4)


def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = Path(__file__).parents[1].joinpath("README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace("max_new_tokens=64", "max_new_tokens=40"), {"__name__": "readme"})  # noqa: S102 - our own
    assert capsys.readouterr().out.startswith(" Cold\n Paris")
    assert isinstance(Settings.llm, LLM)
