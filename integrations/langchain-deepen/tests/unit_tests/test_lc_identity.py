"""What a model is: written down, loaded back, and told apart from others."""

import copy
import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import answers
from langchain_scripted import ensemble
from pydantic import BaseModel

from deepen_llm import Bayes, EnsembleLLM, specialists
from deepen_llm.errors import ConfigError

PATHS = specialists.paths()[:2]
Kind = type[ChatDeepen] | type[DeepenLLM]
both = pytest.mark.parametrize("kind", [ChatDeepen, DeepenLLM])


class Answer(BaseModel):
    city: str


class Own(Bayes):
    """A fusion method of one's own, which no name stands for."""


class Other(Own):
    """Another one, with the same options."""


def back(model: Any) -> Any:
    return loads(dumps(model), valid_namespaces=["langchain_deepen"], allowed_objects=[ChatDeepen, DeepenLLM])


@both
@pytest.mark.parametrize(
    "given",
    [
        {"members": PATHS},
        {"members": PATHS, "fusion": Bayes(self_mass=0.8), "weights": [0.2, 0.8], "main_model": 1, "batch_size": 4},
        {"members": [{"path": str(PATHS[0]), "name": "a", "dtype": "float32"}], "eos_policy": "main"},
        {"members": PATHS, "weights": {"by": "prompt", "tau": 0.5}, "gate": {"when": "unsure", "below": 0.8}},
        {"members": PATHS, "dtype": "float32", "device": "cpu", "compile": True},
        {"members": PATHS, "draft_tokens": 4, "draft_model": PATHS[0], "dtype": "float32"},
        {"members": PATHS, "temperature": 0.5, "stop": ["x"], "n": 2, "seed": 3, "logprobs": 0, "model": "curie"},
        {"members": PATHS, "response_format": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    ],
)
def test_a_model_loads_back_as_it_was(kind: Kind, given: dict[str, Any]) -> None:
    model = kind(**given)
    again = back(model)
    assert type(again) is kind
    assert again.asdict() == model.asdict()
    assert again._source is model._source
    assert len(dumps(model)) < 2000
    assert model.lc_secrets == {}


@both
def test_a_configuration_file_and_a_live_ensemble_load_back_too(kind: Kind, tmp_path: Path) -> None:
    made = EnsembleLLM.from_pretrained(
        PATHS, fusion="bayes", weights=[0.2, 0.8], draft_tokens=4, draft_model=PATHS[0], generation={"top_k": 3}
    )
    made.save_config(tmp_path / "ensemble.yaml")
    models = [kind(config=tmp_path / "ensemble.yaml", seed=1), kind(ensemble=made, seed=1)]
    assert [back(model).asdict() for model in models] == [model.asdict() for model in models]
    assert models[0].asdict() == models[1].asdict()
    assert [back(model)._source.config.draft_model.label for model in models] == ["atlas"] * 2


def test_a_structure_that_is_a_class_is_written_down_as_its_schema() -> None:
    again = back(ChatDeepen(members=PATHS, response_format=Answer))
    assert again.response_format["properties"] == {"city": {"title": "City", "type": "string"}}


@both
def test_an_ensemble_in_memory_says_that_it_cannot_be_written_down(kind: Kind, live: EnsembleLLM) -> None:
    model = kind(ensemble=live)
    assert dumpd(model)["type"] == "not_implemented"
    assert "tensor" not in dumps(model)
    with pytest.raises(NotImplementedError):
        back(model)


@both
def test_a_chain_with_a_model_loads_back(kind: Kind) -> None:
    chain = ChatPromptTemplate.from_template("{q}") | kind(members=PATHS, n=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again: Any = load(
            dumpd(chain),
            valid_namespaces=["langchain_deepen"],
            allowed_objects=[kind, RunnableSequence, ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate],
        )
    assert again.steps[-1].asdict() == kind(members=PATHS, n=2).asdict()


def keys(kind: Kind, models: list[Any], calls: list[dict[str, Any]]) -> list[str]:
    """Each model's and each call's key in the cache."""
    if kind is ChatDeepen:
        return [model._get_llm_string(**call) for model in models for call in calls]
    return [
        str(sorted(model._with(call.get("stop"), {k: v for k, v in call.items() if k != "stop"}).asdict().items()))
        for model in models
        for call in calls
    ]


@both
def test_whatever_changes_an_answer_changes_the_key(kind: Kind, live: EnsembleLLM, tmp_path: Path) -> None:
    copied = shutil.copytree(PATHS[0], tmp_path / "atlas")
    models = [
        kind(members=PATHS),
        kind(members=PATHS[::-1]),
        kind(members=PATHS, main_model=1),
        kind(members=PATHS, weights=[0.3, 0.7]),
        kind(members=PATHS, weights="prompt"),
        kind(members=PATHS, weights={"by": "prompt", "tau": 0.5}),
        kind(members=PATHS, gate="unsure"),
        kind(members=PATHS, gate={"when": "unsure", "below": 0.5}),
        kind(members=PATHS, fusion="deepen"),
        kind(members=PATHS, fusion=Bayes(self_mass=0.7)),
        kind(members=PATHS, eos_policy="main"),
        kind(members=[copied, PATHS[1]]),
        kind(members=PATHS[:1]),
        kind(members=[{"path": str(PATHS[0]), "dtype": "bfloat16"}, PATHS[1]]),
        kind(members=PATHS, top_k=7),
        kind(ensemble=live),
        kind(ensemble=ensemble(answers)),
        kind(ensemble=EnsembleLLM(live.members, weights=[0.9, 0.1])),
    ]
    calls: list[dict[str, Any]] = [
        {},
        {"stop": ["a"]},
        {"temperature": 0.5},
        {"seed": 1},
        {"n": 2},
        {"top_p": 0.5},
        {"max_tokens": 3},
        {"response_format": Answer},
        {"response_format": {"type": "json_object"}},
        {"logprobs": 2},
    ]
    if kind is ChatDeepen:
        tool = {"name": "a", "parameters": {"type": "object", "properties": {}}}
        calls += [{"tools": [tool]}, {"tools": [tool], "tool_choice": "any"}, {"tools": [{**tool, "name": "b"}]}]
    found = keys(kind, models, calls)
    assert len(set(found)) == len(models) * len(calls)


@both
def test_equal_requests_have_equal_keys_however_they_are_spelled(kind: Kind, live: EnsembleLLM) -> None:
    spelled = [kind(members=PATHS), kind(members=[{"path": str(p)} for p in PATHS], weights=[2, 2], temperature=0.0)]
    assert len(set(keys(kind, spelled, [{}, {"temperature": 0}, {"max_new_tokens": 256}, {"max_tokens": 256}]))) == 1
    drafted = [kind(members=PATHS, draft_tokens=4), kind(members=PATHS, draft_tokens=4, draft_model=PATHS[0])]
    assert len(set(keys(kind, [*drafted, spelled[0]], [{}]))) == 1
    assert len(set(keys(kind, [kind(ensemble=live), kind(ensemble=live, n=1)], [{}, {"stop": []}]))) == 1
    assert json.loads(json.dumps(spelled[0].asdict())) == spelled[0].asdict()


def test_a_checkpoint_that_has_changed_is_another_model(tmp_path: Path) -> None:
    folder = shutil.copytree(PATHS[0], tmp_path / "atlas")
    before = ChatDeepen(members=[folder])._get_llm_string()
    assert ChatDeepen(members=[folder])._get_llm_string() == before
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert ChatDeepen(members=[folder])._get_llm_string() != before


@both
def test_copies_share_the_weights_and_pickles_leave_them_out(kind: Kind) -> None:
    model = kind(members=PATHS, max_new_tokens=4)
    answer = model.invoke("Question: What is the capital of France?")
    assert len(pickle.dumps(model)) < 20_000
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        told = other.invoke("Question: What is the capital of France?")
        assert getattr(told, "content", told) == getattr(answer, "content", answer)
    with pytest.raises(ConfigError, match="memory only"):
        pickle.dumps(kind(ensemble=ensemble(answers)))


@both
def test_a_fusion_method_of_ones_own_is_pickled_told_apart_and_never_written(kind: Kind) -> None:
    model, other, plain = (kind(members=PATHS, fusion=method()) for method in (Own, Other, Bayes))
    assert len({id(one._source) for one in (model, other, plain)}) == 3
    assert len({json.dumps(one._source.identity) for one in (model, other, plain)}) == 3
    assert type(pickle.loads(pickle.dumps(model))._source.settings.fusion) is Own  # noqa: S301
    assert dumpd(model)["type"] == "not_implemented"
    assert dumpd(kind(ensemble=EnsembleLLM.from_pretrained(PATHS, fusion=Own())))["type"] == "not_implemented"
