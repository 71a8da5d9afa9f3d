"""Where a model's ensemble comes from, and what is refused before any weights are read."""

import copy
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseLLM
from langchain_core.runnables import ConfigurableField
from langchain_deepen import ChatDeepen, DeepenLLM
from pydantic import BaseModel
from transformers import AutoConfig

from deepen_llm import Bayes, EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.members.local.member import LocalMember

PATHS = specialists.paths()[:2]
Kind = type[ChatDeepen] | type[DeepenLLM]
both = pytest.mark.parametrize("kind", [ChatDeepen, DeepenLLM])


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every ensemble that is loaded."""
    seen: list[Any] = []
    own = EnsembleLLM.from_config.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(EnsembleLLM, "from_config", classmethod(lambda cls, config: seen.append(1) or own(cls, config)))
    return seen


@both
def test_weights_are_loaded_on_first_use_and_once(kind: Kind, loads: list[Any]) -> None:
    model = kind(members=PATHS, fusion=Bayes(self_mass=0.8), max_new_tokens=3)
    assert loads == []
    barrier = threading.Barrier(8)

    def call(_: int) -> Any:
        barrier.wait()
        return model.invoke("What is the capital of France?")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))
    assert len({str(getattr(answer, "text", answer)) for answer in answers}) == 1
    assert loads == [1]


def test_models_with_equal_settings_share_their_weights(loads: list[Any]) -> None:
    chat = ChatDeepen(members=PATHS, fusion="bayes", temperature=0.5)
    llm = DeepenLLM(members=[str(path) for path in PATHS], fusion="bayes")
    other = DeepenLLM(members=PATHS, fusion="bayes", weights=[0.9, 0.1])
    assert chat._source.load() is llm._source.load()
    assert loads == [1]
    assert other._source.load() is not llm._source.load()


@both
def test_members_are_paths_mappings_or_configurations(kind: Kind) -> None:
    forms: list[Any] = [
        PATHS,
        [{"path": str(path)} for path in PATHS],
        [MemberConfig(path=str(path)) for path in PATHS],
    ]
    assert len({kind(members=form).model_name for form in forms}) == 1
    assert kind(members=[{"path": str(PATHS[0]), "name": "a"}]).model_name == "a"
    assert kind(members=str(PATHS[0])).model_name == "atlas"


@both
def test_a_configuration_file_says_everything(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "ensemble.yaml"
    EnsembleLLM.from_pretrained(
        PATHS, fusion="bayes", weights=[0.7, 0.3], generation={"max_new_tokens": 5}
    ).save_config(file)
    model = kind(config=file)
    assert model.model_name == "atlas+curie"
    assert model._get_ls_params()["ls_max_tokens"] == 5
    with pytest.raises(ConfigError, match="beside config="):
        kind(config=file, fusion="deepen")


@both
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got none"),
        ({"members": PATHS, "config": "a.yaml"}, "got members and config"),
        ({"config": "nowhere.yaml"}, "cannot be read"),
        ({"members": []}, "0 members"),
        ({"members": PATHS, "main_model": 2}, "main_model=2"),
        ({"members": PATHS, "weights": [1, 2, 3]}, "3 weights for 2 members"),
        ({"members": PATHS, "fusion": "magic"}, "unknown fusion method"),
        ({"members": PATHS, "temprature": 1}, "did you mean 'temperature'"),
        ({"members": PATHS, "temperature": -1}, "temperature=-1"),
        ({"members": PATHS, "temperature": "hot"}, "temperature='hot'"),
        ({"members": PATHS, "max_tokens": 1, "max_new_tokens": 2}, "beside max_new_tokens"),
        ({"members": PATHS, "stop": [""]}, "must not be empty"),
        ({"members": PATHS, "model": "nobody"}, "'nobody' is no member"),
        ({"members": PATHS, "model": "atlas+atlas"}, "'atlas' is named twice"),
        ({"ensemble": "gpt"}, "ensemble='gpt': Input should be an instance of EnsembleLLM"),
        ({"members": 3}, "expected members, got 3"),
        ({"members": PATHS, "compile": "perhaps"}, "compile='perhaps'"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(kind: Kind, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        kind(**given)
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint


@both
def test_a_folder_without_a_checkpoint_is_refused_at_once(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is no checkpoint"):
        kind(members=[PATHS[0], tmp_path])


@both
def test_standard_names_are_understood(kind: Kind) -> None:
    model = kind(
        members=PATHS, max_tokens=7, stop_sequences="x", temperature=0, timeout=60, max_retries=2, api_key="none"
    )
    assert (model.max_new_tokens, model.stop, model.temperature) == (7, ["x"], 0)
    assert model._get_ls_params() == {
        "ls_provider": "deepen",
        "ls_model_type": "chat" if kind is ChatDeepen else "llm",
        "ls_model_name": "atlas+curie",
        "ls_temperature": 0.0,
        "ls_max_tokens": 7,
        "ls_stop": ["x"],
    }
    asked = model._get_ls_params(stop=["y"], temperature=0.5, max_tokens=3, model="curie")
    assert (asked["ls_stop"], asked["ls_temperature"], asked["ls_max_tokens"]) == (["y"], 0.5, 3)
    assert asked["ls_model_name"] == "curie"


def test_the_profile_tells_what_the_smallest_member_reads(live: EnsembleLLM) -> None:
    smallest = min(AutoConfig.from_pretrained(path).max_position_embeddings for path in PATHS)
    for profile, window in ((ChatDeepen(members=PATHS).profile, smallest), (ChatDeepen(ensemble=live).profile, 8192)):
        assert profile is not None
        assert profile["max_input_tokens"] == window
        assert profile["tool_calling"]
        assert profile["structured_output"]
        assert not profile["image_inputs"]


def test_the_profile_heeds_only_members_that_take_part(tmp_path: Path) -> None:
    short = shutil.copytree(PATHS[1], tmp_path / "short")
    told = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**told, "max_position_embeddings": 64}))
    windows = [
        (ChatDeepen(members=[PATHS[0], short], weights=weights).profile or {}).get("max_input_tokens")
        for weights in ([1, 0], [1, 1])
    ]
    assert windows == [AutoConfig.from_pretrained(PATHS[0]).max_position_embeddings, 64]


@both
def test_a_call_may_choose_among_the_members(kind: Kind) -> None:
    model: Any = kind(members=PATHS, fusion="bayes", max_new_tokens=4)
    alone = EnsembleLLM.from_pretrained(PATHS[1])
    question = "What is the capital of France?"
    expected = (
        alone.generate(question, max_new_tokens=4)
        if kind is DeepenLLM
        else alone.chat([{"role": "user", "content": question}], max_new_tokens=4)
    )
    said = model.invoke(question, model="curie")
    assert (said if isinstance(said, str) else said.text) == expected.text
    with pytest.raises(ConfigError, match="members are atlas, curie"):
        model.invoke(question, model="gpt-5")


def test_a_member_alone_is_spared_the_variables_that_only_others_read() -> None:
    atlas, curie = EnsembleLLM.from_pretrained(PATHS).members
    assert isinstance(atlas, LocalMember)
    tokenizer = copy.copy(atlas.tokenizer)
    tokenizer.chat_template += "{% if thinking %} {% endif %}"
    llm = EnsembleLLM(
        [LocalMember(atlas.model, tokenizer, "atlas"), curie],
        generation={"chat_template_kwargs": {"thinking": False}, "max_new_tokens": 4},
    )
    assert ChatDeepen(ensemble=llm).invoke("What is the capital of France?", model="curie").text


@pytest.mark.parametrize(("kind", "drafting"), [(ChatDeepen, {"draft_model": PATHS[0]}), (DeepenLLM, {})])
def test_drafts_reach_the_ensemble_and_change_no_answer(kind: Kind, drafting: dict[str, Any]) -> None:
    plain: Any = kind(members=PATHS, fusion="bayes", max_new_tokens=10)
    model: Any = kind(members=PATHS, fusion="bayes", max_new_tokens=10, draft_tokens=4, **drafting)
    ensemble = model._source.load()
    assert ensemble.settings.draft_tokens == 4
    assert (ensemble.draft_model and ensemble.draft_model.name) == ("atlas" if drafting else None)
    question = "What is the capital of France?"
    for part in ({}, {"model": "atlas"}, {"model": "curie"}):
        answers = [one.invoke(question, **part) for one in (model, plain)]
        assert len({getattr(answer, "text", answer) for answer in answers}) == 1


@both
def test_a_draft_model_without_use_is_told(kind: Kind) -> None:
    with pytest.raises(ConfigError, match="draft no token"):
        kind(members=PATHS, draft_model=PATHS[0])
    with pytest.raises(LoadError, match="it is no folder"):
        kind(members=PATHS, draft_tokens=4, draft_model="./nowhere")
    with pytest.raises(ConfigError, match="draft_tokens=4 beside ensemble="):
        kind(ensemble=EnsembleLLM.from_pretrained(PATHS), draft_tokens=4)
    with pytest.raises(ConfigError, match="another vocabulary than the main model"):
        kind(members=PATHS, draft_tokens=4, draft_model=PATHS[1]).invoke("Hello.")


def test_members_and_draft_models_by_path_are_loaded_in_one_way() -> None:
    placed = {"dtype": "float32", "device": "cpu", "compile": True}
    model = ChatDeepen(members=PATHS, draft_tokens=4, draft_model=PATHS[0], **placed)
    config = model._source.config
    for one in (*config.members, config.draft_model):
        assert one == MemberConfig(path=one.path, **placed)
    with pytest.raises(ConfigError, match="quantization='int3'"):
        ChatDeepen(members=PATHS, quantization="int3")


def test_a_field_may_be_configured_later_without_loading_again(loads: list[Any]) -> None:
    chat = ChatDeepen(members=PATHS, fusion={"method": "bayes", "self_mass": 0.85}, max_new_tokens=1)
    later = chat.configurable_fields(max_new_tokens=ConfigurableField(id="most"))
    for most in (1, 2):
        said = later.with_config(configurable={"most": most}).invoke("What is the capital of France?")
        assert said.usage_metadata["output_tokens"] == most
    assert loads == [1]


def test_a_model_may_be_a_field_of_another(chat: ChatDeepen, llm: DeepenLLM) -> None:
    class Holder(BaseModel):
        chat: ChatDeepen
        llm: BaseLLM

    held = Holder(chat=chat, llm=llm)
    assert held.chat is chat
    assert held.llm is llm
    assert chat.metadata is not None
    assert "langchain-deepen" in chat.metadata["lc_versions"]
