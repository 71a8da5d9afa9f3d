"""The front door: options that are passed through and checked once, subsets, and what a `TextModel` is."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepen_llm import AggregationWeights, EnsembleConfig, EnsembleLLM, EnsembleSettings, TextModel, specialists
from deepen_llm.config import LoadingSettings, Settings
from deepen_llm.errors import ConfigError
from deepen_llm.members.config import MemberConfig, Placement
from tests.models import small

PATHS = specialists.paths()
PROMPT = "Question: What is the capital of France?"
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def llm() -> EnsembleLLM:
    return EnsembleLLM.from_pretrained(PATHS, fusion="bayes", weights=[1, 2, 5], generation={"max_new_tokens": 6})


def test_the_typed_options_are_the_fields_that_are_checked() -> None:
    assert set(Settings.__annotations__) == set(EnsembleSettings.model_fields)
    assert set(Placement.__annotations__) <= set(MemberConfig.model_fields)
    assert set(LoadingSettings.__annotations__) == {
        *Settings.__annotations__,
        *Placement.__annotations__,
        "draft_model",
    }
    assert all(f"``{name}``" in (EnsembleLLM.__doc__ or "") for name in Settings.__annotations__)
    documented = EnsembleLLM.from_pretrained.__doc__ or ""
    assert all(f"``{name}``" in documented for name in (*Placement.__annotations__, "draft_model"))


def in_memory(**options: Any) -> EnsembleLLM:
    return EnsembleLLM([], **options)


def from_file(**options: Any) -> EnsembleLLM:
    return EnsembleLLM.from_pretrained("a.yaml", **options)


def loaded(**options: Any) -> EnsembleLLM:
    return EnsembleLLM.from_pretrained(PATHS, **options)


@pytest.mark.parametrize(
    ("call", "options", "message"),
    [
        (in_memory, {"fussion": "bayes"}, "unknown option 'fussion', did you mean 'fusion'"),
        (loaded, {"fussion": "bayes"}, "unknown option 'fussion', did you mean 'fusion'"),
        (loaded, {"devices": "cpu"}, "unknown option 'devices', did you mean 'device'"),
        (loaded, {"draft_modle": "a"}, "unknown option 'draft_modle', did you mean 'draft_model'"),
        (loaded, {"device": ["cpu"]}, "1 devices for 3 members"),
        (in_memory, {"settings": EnsembleSettings(), "batch_size": 2}, "batch_size beside settings="),
        (from_file, {"fusion": "surface"}, "options beside the configuration a.yaml"),
        (from_file, {"device": "cpu"}, "options beside the configuration a.yaml"),
        (from_file, {"draft_model": "b"}, "options beside the configuration a.yaml"),
    ],
)
def test_options_that_cannot_be_used_are_told(
    call: Callable[..., EnsembleLLM], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call(**options)
    assert caught.value.hint


def test_settings_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked, check = list[str](), EnsembleSettings.__init__

    def counting(self: EnsembleSettings, **given: Any) -> None:
        checked.append(type(self).__name__)
        check(self, **given)

    monkeypatch.setattr(EnsembleSettings, "__init__", counting)
    llm = EnsembleLLM.from_pretrained(PATHS[:2], fusion="bayes", generation={"max_new_tokens": 3})
    assert checked == ["EnsembleConfig"]
    assert EnsembleLLM(llm.members, settings=llm.settings).settings is llm.settings
    assert checked == ["EnsembleConfig"]


def test_settings_are_the_same_by_either_door(llm: EnsembleLLM) -> None:
    live = EnsembleLLM(llm.members, fusion="bayes", weights=[1, 2, 5], generation={"max_new_tokens": 6})
    assert live.settings == llm.settings == llm.config.settings
    assert EnsembleSettings(generation=None) == EnsembleSettings()


class First(AggregationWeights):
    """The first of the members that take part alone."""

    def per_token(self, logits: Sequence[Tensor], state: Tensor) -> Tensor:
        return torch.eye(state.shape[1])[0].expand(len(logits[0]), -1)


def test_settings_hold_weights_of_ones_own_and_configurations_refuse_them(llm: EnsembleLLM) -> None:
    own = First()
    live = EnsembleLLM(llm.members, settings=EnsembleSettings(weights=own))
    assert live.ensemble.weights is own
    assert live.subset([2, 0]).settings.weights is own
    assert live.settings.model_dump(mode="json")["weights"] == {"class": f"{First.__module__}.First"}
    with pytest.raises(ConfigError, match=r"aggregation weights of your own \(First\)"):
        _ = live.config
    with pytest.raises(ConfigError, match=r"aggregation weights of your own \(First\)"):
        EnsembleConfig(members=PATHS, weights=own)


@pytest.mark.parametrize("chosen", [["curie", "webster"], [1, 2], [2, 0], ["curie"]])
def test_a_subset_is_the_ensemble_of_these_members(llm: EnsembleLLM, chosen: list[Any]) -> None:
    names = [member.name for member in llm.members]
    indices = [names.index(one) if isinstance(one, str) else one for one in chosen]
    part = llm.subset(chosen)
    assert [id(member) for member in part.members] == [id(llm.members[i]) for i in indices]
    weights = [[1, 2, 5][i] for i in indices]
    main = indices.index(0) if 0 in indices else 0
    made = EnsembleLLM([llm.members[i] for i in indices], fusion="bayes", weights=weights, main_model=main)
    given, expected = (one.ensemble.weights.per_prompt([[]])[0].tolist() for one in (part, made))
    assert given == pytest.approx(expected)
    assert part.generate(PROMPT) == made.generate(PROMPT, max_new_tokens=6)


def test_a_subset_of_all_is_the_ensemble_and_settings_may_differ(llm: EnsembleLLM) -> None:
    assert llm.subset([0, 1, 2]) is llm
    other = llm.subset([0, 1, 2], fusion="surface", weights=None, generation={"max_new_tokens": 2})
    assert other.settings == EnsembleSettings(fusion="surface", generation={"max_new_tokens": 2})
    assert llm.subset([1], weights=[1]).settings.main_model == 0


def test_a_draft_model_goes_with_its_vocabulary() -> None:
    llm = EnsembleLLM.from_pretrained(PATHS[:2], fusion="bayes", draft_tokens=2, draft_model=PATHS[0])
    assert llm.subset(["atlas"]).draft_model is llm.draft_model
    assert llm.subset([1, 0]).draft_model is llm.draft_model
    assert llm.subset(["curie"]).draft_model is None
    assert llm.subset([0, 1], main_model=1).draft_model is None


def test_members_that_are_none_or_twice_are_told(llm: EnsembleLLM) -> None:
    mistakes: list[tuple[list[Any], str]] = [
        (["curry"], "'curry' is no member of this ensemble, did you mean 'curie'"),
        ([3], "3 is no member"),
        ([-1], "-1 is no member"),
        (["atlas", 0], "0 is named twice"),
        ([], "0 members"),
    ]
    for chosen, message in mistakes:
        with pytest.raises(ConfigError, match=message):
            llm.subset(chosen)


def test_an_ensemble_is_a_text_model(llm: EnsembleLLM) -> None:
    model: TextModel = llm
    assert isinstance(model, TextModel)
    assert not isinstance(llm.ensemble, TextModel)


async def test_a_text_model_answers_asynchronously_as_it_does_otherwise(llm: EnsembleLLM) -> None:
    model: TextModel = llm
    assert await model.agenerate([PROMPT, "The"]) == model.generate([PROMPT, "The"])
    assert await model.achat(ASKED) == model.chat(ASKED)
    assert await model.ascore(PROMPT, " Paris") == model.score(PROMPT, " Paris")
    several = [" Paris", " Rome", " a far longer answer"]
    assert await model.ascore(PROMPT, several) == model.score(PROMPT, several)
    assert "".join([piece async for piece in model.astream_chat(ASKED)]) == "".join(model.stream_chat(ASKED))


def test_tokens_are_counted_as_the_main_model_reads_them(llm: EnsembleLLM) -> None:
    reading = llm.chat(ASKED).usage.prompt_tokens
    assert llm.count_tokens(ASKED) == reading
    assert llm.count_tokens([]) == 0
    assert llm.render(ASKED).count("What is the capital of France?") == 1
    assert len(llm.token_ids("The capital of France")) < reading
    with pytest.raises(ConfigError, match="unknown option"):
        llm.count_tokens(ASKED, temperature=1)


def test_a_configuration_places_members_that_are_given_by_path() -> None:
    own = MemberConfig(path=str(PATHS[1]), dtype="bfloat16")
    config = EnsembleConfig.of([PATHS[0], own], dtype=torch.float32, device=["cpu", "cpu:0"], main_model=1)
    assert [(member.dtype, member.device) for member in config.members] == [("float32", "cpu"), ("bfloat16", "auto")]
    assert EnsembleConfig.of(str(PATHS[0])).members == EnsembleConfig.of([PATHS[0]]).members


def test_a_subclass_is_made_by_its_own_initialiser(tmp_path: Path) -> None:
    class Named(EnsembleLLM):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.title = "+".join(member.name for member in self.members)

    llm = Named.from_pretrained(PATHS[:2])
    llm.save_config(tmp_path / "ensemble.yaml")
    assert Named.from_config(tmp_path / "ensemble.yaml").title == llm.title == "atlas+curie"
    assert llm.subset([1]).title == "curie"


def test_an_ensemble_of_pairs_takes_the_same_options() -> None:
    pair = small("llama", "byte_level_bpe")
    live = EnsembleLLM([pair, copy.copy(pair)], gate="unsure", eos_policy="main", draft_tokens=3)
    assert (live.settings.gate.when, live.ensemble.eos_policy, live.ensemble.draft_tokens) == ("unsure", "main", 3)
