"""What can be set, what is refused, and what can be written down and read back."""

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from deepen_li_members import REFUSING, speaking
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import LLM, ChatMessage, ImageBlock, TextBlock
from llama_index.llms.deepen import DeepenLLM

from deepen_llm import Bayes, Deepen, EnsembleLLM, EntropyWeights, Gate, MemberConfig, PromptWeights, specialists
from deepen_llm.errors import ConfigError, ContextLengthError, LoadError, PromptError

MEMBERS = specialists.paths()[:2]
QUESTION = "The capital of France is"


class Own(Bayes):
    """A fusion method of one's own, which no name stands for."""


class OwnGate(Gate):
    """A gate of one's own."""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "got none"),
        ({"members": MEMBERS, "config": "x.yaml"}, "got members and config"),
        ({"members": []}, "0 members"),
        ({"members": MEMBERS, "temperatur": 1}, "did you mean 'temperature'"),
        ({"members": MEMBERS, "temperature": -1}, "temperature=-1"),
        ({"members": MEMBERS, "temperature": "hot"}, "temperature='hot'"),
        ({"members": MEMBERS, "stop": [""]}, "stop"),
        ({"members": MEMBERS, "weights": [1]}, "1 weights for 2 members"),
        ({"members": MEMBERS, "main_model": 5}, "main_model=5"),
        ({"members": MEMBERS, "fusion": "mean"}, "unknown fusion method 'mean'"),
        ({"members": MEMBERS, "fusion": Own()}, r"no fusion method of your own \(Own\)"),
        ({"members": MEMBERS, "gate": OwnGate()}, r"no gate of your own \(OwnGate\)"),
        ({"members": MEMBERS, "fusion": {"method": "deepen", "rate": 1}}, "rate"),
        ({"members": MEMBERS, "eos_policy": "both"}, "eos_policy"),
        ({"members": MEMBERS, "draft_tokens": -1}, "draft_tokens=-1"),
        ({"members": MEMBERS, "draft_model": MEMBERS[0]}, "draft no token"),
        ({"members": [{"path": str(MEMBERS[0]), "devise": "cpu"}]}, "did you mean 'device'"),
        ({"members": [{"path": str(MEMBERS[0]), "device": "warp"}]}, "device 'warp'"),
        ({"config": "/nowhere/ensemble.yaml"}, "cannot be read"),
        ({"ensemble": "meta-llama/Llama-3.1-8B"}, "is no EnsembleLLM"),
        ({"members": 3}, "expected members, got 3"),
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
    with pytest.raises(ConfigError, match="fusion='bayes' beside ensemble="):
        DeepenLLM(ensemble=speaking("x"), fusion="bayes")


def test_nothing_is_loaded_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> EnsembleLLM:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(EnsembleLLM, "from_config", refuse)
    llm = Settings.llm = DeepenLLM(members=MEMBERS, fusion="bayes", weights=[2, 1])
    assert (llm.metadata.context_window, llm.metadata.num_output) == (512, 256)
    assert llm.metadata.model_name == "atlas+curie"
    assert llm.to_payload()["model_name"] == "atlas+curie"
    llm.to_json()
    copy.deepcopy(llm)
    with pytest.raises(AssertionError, match="weights were loaded"):
        llm.complete(QUESTION)


def test_a_configuration_that_cannot_be_read_is_told_without_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(EnsembleLLM, "from_config")
    folder = shutil.copytree(MEMBERS[0], tmp_path / "broken")
    (folder / "config.json").write_text("{")
    with pytest.raises(LoadError, match="configuration of member broken"):
        _ = DeepenLLM(members=[folder, MEMBERS[1]]).metadata


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
        {"members": MEMBERS, "weights": EntropyWeights(tau=0.2), "gate": Gate(when="unsure", below=0.8)},
        {"members": MEMBERS, "weights": "prompt", "gate": "boundary"},
        {"members": MEMBERS[0], "system_prompt": "Be brief."},
        {"members": MEMBERS, "draft_tokens": 4, "draft_model": MEMBERS[0]},
        {"members": MEMBERS, "draft_tokens": 4, "draft_model": MemberConfig(path=str(MEMBERS[0]), dtype="float32")},
    ],
    ids=["objects", "fields", "following", "names", "one", "drafts", "draft fields"],
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


@pytest.mark.parametrize("drafting", [{}, {"draft_model": MEMBERS[0]}], ids=["main model", "draft model"])
def test_drafts_reach_the_ensemble_and_change_no_answer(drafting: dict[str, Any]) -> None:
    plain = DeepenLLM(members=MEMBERS, fusion="bayes", max_new_tokens=8)
    llm = DeepenLLM(members=MEMBERS, fusion="bayes", max_new_tokens=8, draft_tokens=4, **drafting)
    ensemble = llm.load()
    assert ensemble.settings.draft_tokens == 4
    assert (ensemble.draft_model and ensemble.draft_model.name) == ("atlas" if drafting else None)
    assert llm.complete(QUESTION).text == plain.complete(QUESTION).text
    asked = [ChatMessage("What is the capital of France?")]
    assert llm.chat(asked).message.content == plain.chat(asked).message.content
    again = DeepenLLM.from_json(DeepenLLM(ensemble=ensemble).to_json()).load()
    assert again.config == ensemble.config


def test_a_draft_model_that_cannot_be_used_is_told() -> None:
    with pytest.raises(LoadError, match="it is no folder"):
        DeepenLLM(members=MEMBERS, draft_tokens=4, draft_model="./nowhere")
    with pytest.raises(ConfigError, match="another vocabulary than the main model"):
        DeepenLLM(members=MEMBERS, draft_tokens=4, draft_model=MEMBERS[1]).load()


def test_a_configuration_file_says_everything(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yaml"
    live = EnsembleLLM.from_pretrained(MEMBERS, fusion="bayes", generation={"max_new_tokens": 2, "stop": ["."]})
    live.save_config(file)
    llm = DeepenLLM.from_json(DeepenLLM(config=file).to_json())
    assert llm.metadata.num_output == 2
    assert llm.complete(QUESTION).text == live.generate(QUESTION).text
    with pytest.raises(ConfigError, match=r"weights=\[1, 2\] beside config="):
        DeepenLLM(config=file, weights=[1, 2])


def test_a_fusion_method_of_ones_own_comes_with_a_live_ensemble_and_is_never_written() -> None:
    llm = DeepenLLM(ensemble=EnsembleLLM.from_pretrained(MEMBERS, fusion=Own()))
    assert not {"members", "fusion"} & {name for name, value in llm.to_dict().items() if value is not None}
    assert type(pickle.loads(pickle.dumps(llm)).load().settings.fusion) is Own  # noqa: S301


def test_a_live_ensemble_is_left_out_of_serialised_forms_and_shared_by_copies() -> None:
    llm = DeepenLLM(ensemble=speaking("x"))
    assert copy.deepcopy(llm).load() is llm.model_copy().load() is llm.load()
    written = llm.to_json()
    assert "ensemble" not in json.loads(written)
    with pytest.raises(ConfigError, match="got none") as caught:
        DeepenLLM.from_json(written)
    assert "from_json(..., ensemble=" in (caught.value.hint or "")
    assert DeepenLLM.from_json(written, ensemble=llm.load()).load() is llm.load()


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


def test_what_a_template_refuses_in_every_form_is_told() -> None:
    silent = "{% if 'Hello?' in messages[-1]['content'] %}{{ raise_exception('no questions') }}{% endif %}" + REFUSING
    llm = DeepenLLM(ensemble=speaking("x", template=silent))
    for call in (llm.chat, llm.messages_to_prompt):
        with pytest.raises(PromptError, match=r"message 1 \(role 'user'\).*no questions"):
            call([ChatMessage("Hello."), ChatMessage("Hello?")])


def test_a_prompt_without_room_is_told() -> None:
    with pytest.raises(ContextLengthError, match="context window"):
        DeepenLLM(ensemble=speaking("x", windows=(64, 64))).chat([ChatMessage("word " * 100)])


def test_roles_have_the_names_that_templates_know() -> None:
    heard: list[str] = []
    llm = DeepenLLM(ensemble=speaking(lambda prompt: heard.append(prompt) or " Yes."))
    llm.chat([ChatMessage("Be brief.", role="developer"), ChatMessage("Well?"), ChatMessage("So.", role="model")])
    assert heard[0].endswith("<system> Be brief.\n<user> Well?\n<assistant> So.\n<assistant>")


def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = Path(__file__).parents[1].joinpath("README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace("max_new_tokens=64", "max_new_tokens=40"), {"__name__": "readme"})  # noqa: S102 - our own
    assert capsys.readouterr().out.startswith(" Cold\n Paris")
    assert isinstance(Settings.llm, LLM)


def test_it_can_be_shown() -> None:
    llm = Settings.llm = DeepenLLM(members=MEMBERS)
    for shown in (repr(llm), str(llm), repr(Settings)):
        assert str(MEMBERS[0]) in shown


def pickled(llm: DeepenLLM) -> Any:
    return pickle.loads(pickle.dumps(llm))  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("way", "form"),
    [
        (pickled, "members"),
        (pickled, "live"),
        (copy.deepcopy, "config"),
        (copy.copy, "live"),
    ],
)
def test_copies_say_the_same_and_leave_the_original_whole(way: Any, form: str, tmp_path: Path) -> None:
    live = EnsembleLLM.from_pretrained(MEMBERS, generation={"max_new_tokens": 3})
    live.save_config(file := tmp_path / "ensemble.yaml")
    given = {"members": {"members": MEMBERS, "max_new_tokens": 3}, "config": {"config": file}}
    llm = DeepenLLM(**given.get(form, {"ensemble": live}), callback_manager=CallbackManager([LlamaDebugHandler()]))
    before = {name: getattr(llm, name) for name in type(llm).model_fields}
    copied = way(llm)
    assert {name: getattr(llm, name) for name in type(llm).model_fields} == before
    assert copied.to_dict() == llm.to_dict()
    assert copied.complete(QUESTION).text == llm.complete(QUESTION).text
    asked = [ChatMessage("What is the opposite of hot?")]
    assert copied.messages_to_prompt(asked) == llm.messages_to_prompt(asked)
    assert len(pickle.dumps(llm)) < 10_000  # loaded by now, and no weights in it
    if way in (copy.copy, copy.deepcopy):
        assert copied.load() is llm.load()


def test_a_pickled_model_loads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = pickled(DeepenLLM(members=MEMBERS))
    copied.messages_to_prompt([ChatMessage("Hello.")])
    monkeypatch.delattr(EnsembleLLM, "from_config")
    copied.complete(QUESTION, max_new_tokens=1)


def test_models_in_memory_are_not_pickled() -> None:
    llm = DeepenLLM(ensemble=speaking("x"))
    with pytest.raises(ConfigError, match="lives in memory only") as caught:
        pickle.dumps(llm)
    assert caught.value.hint
    assert llm.chat([ChatMessage("Hello.")]).message.content == "x"
    assert llm.messages_to_prompt([ChatMessage("Hello.")])


def test_a_live_ensemble_that_a_configuration_names_is_serialised() -> None:
    live = EnsembleLLM.from_pretrained(
        MEMBERS,
        fusion=Deepen(relr=0.3),
        weights=PromptWeights(tau=2),
        gate="boundary",
        generation={"max_new_tokens": 3, "stop": ["."]},
    )
    again = DeepenLLM.from_json(DeepenLLM(ensemble=live, seed=1, max_new_tokens=4).to_json())
    assert (again.max_new_tokens, again.seed, again.stop) == (4, 1, ["."])
    assert again.load().settings.fusion == live.settings.fusion
    assert again.load().settings.weights == live.settings.weights
    assert again.load().settings.gate == live.settings.gate


def test_what_says_which_models_is_fixed() -> None:
    llm = DeepenLLM(members=MEMBERS)
    for change in ({"members": MEMBERS[:1]}, {"weights": [1, 2]}, {"fusion": "bayes"}, {"ensemble": None}):
        with pytest.raises(ConfigError, match="fixed") as caught:
            llm.model_copy(update=change)
        assert "new DeepenLLM" in (caught.value.hint or "")
        with pytest.raises(ConfigError, match="fixed"):
            setattr(llm, *next(iter(change.items())))
    llm.temperature, llm.system_prompt = 0.5, "Be brief."
    assert llm.model_copy(update={"seed": 1}).seed == 1
