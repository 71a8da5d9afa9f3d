"""Structured prediction: valid whatever the weights, in every form."""

from typing import Annotated, Any

import pytest
from deepen_li_members import gathered, random_members, speakers, speaking
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.deepen import DeepenLLM
from pydantic import BaseModel, ConfigDict, Field, field_validator

from deepen_llm.errors import ConfigError, StructureError


class Landmark(BaseModel):
    """A landmark."""

    name: Annotated[str, Field(max_length=12)]
    height: int


class City(BaseModel):
    """A city."""

    name: Annotated[str, Field(max_length=20)]
    unit: str = Field("metres", max_length=8)
    landmarks: Annotated[list[Landmark], Field(max_length=2)]


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it is odd")
        return value


PROMPT = PromptTemplate("Describe the city of {city}.")
PARIS = '{"name": "Paris", "landmarks": [{"name": "E", "height": 330}]}'
STREAMED = ["stream_structured", "astream_structured"]
every_way = pytest.mark.parametrize("way", ["structured", "astructured", *STREAMED])


async def predicted(llm: DeepenLLM, way: str, kind: type[BaseModel] = City, **given: Any) -> list[Any]:
    made = getattr(llm, f"{way}_predict")(kind, PROMPT, city="Paris", **given)
    return await gathered(way, made)


@pytest.mark.parametrize(
    ("way", "seed"), [("structured", 0), ("structured", 1), ("astructured", 2), *((way, 3) for way in STREAMED)]
)
async def test_random_weights_give_valid_objects(way: str, seed: int) -> None:
    llm = DeepenLLM(ensemble=random_members(seed), max_new_tokens=64, stop="a", temperature=1, seed=seed)
    *partial, whole = await predicted(llm, way)
    assert isinstance(whole, City)
    assert all(hasattr(one, "landmarks") for one in partial)


@every_way
async def test_what_the_model_says_is_what_comes(way: str) -> None:
    *partial, whole = await predicted(DeepenLLM(ensemble=speaking(PARIS)), way)
    assert whole == City.model_validate_json(PARIS)
    if partial:
        names = [one.name for one in partial if one.name]
        assert names == sorted(names, key=len)
        assert {"P", "Paris"} & set(names)


@every_way
async def test_base_models_are_held_to_the_schema_as_well(way: str) -> None:
    llm = DeepenLLM(ensemble=speaking('{"number": 4}', marks=("Paris.",)), is_chat_model=False)
    assert (await predicted(llm, way, Even))[-1].number == 4


@every_way
async def test_another_program_is_obeyed_and_required_calls_carry_it(way: str) -> None:
    call = '<tool_call>\n{"name": "Even", "arguments": {"number": 4}}\n</tool_call>'
    llm = DeepenLLM(ensemble=speaking(call), pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert (await predicted(llm, way, Even, llm_kwargs={"max_new_tokens": 200}))[-1].number == 4


@every_way
async def test_rules_beyond_the_schema_are_told(way: str) -> None:
    with pytest.raises(StructureError, match="it is odd"):
        await predicted(DeepenLLM(ensemble=speaking('{"number": 3}')), way, Even)


@every_way
async def test_a_schema_that_cannot_be_compiled_is_refused(way: str) -> None:
    class Impossible(BaseModel):
        model_config = ConfigDict(regex_engine="python-re")
        name: Annotated[str, Field(pattern=r"(?=lookahead)x")]

    with pytest.raises(ConfigError):
        await predicted(DeepenLLM(ensemble=speaking("{}")), way, Impossible)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex calls `.json()`
async def test_a_structured_llm() -> None:
    llm = DeepenLLM(ensemble=speaking(PARIS)).as_structured_llm(City)
    assert llm.chat([ChatMessage("Describe Paris.")]).raw.name == "Paris"
    assert (await llm.achat([ChatMessage("Describe Paris.")])).raw.landmarks[0].height == 330
    assert llm.complete("Describe Paris.").raw.unit == "metres"
    assert list(llm.stream_chat([ChatMessage("Describe Paris.")]))[-1].raw == City.model_validate_json(PARIS)


def test_a_schema_may_be_given_with_a_call() -> None:
    response = DeepenLLM(ensemble=random_members(0), max_new_tokens=64).complete("City =>", response_format=City)
    City.model_validate_json(response.text)


@every_way
@pytest.mark.parametrize("kind", [{"type": "object"}, "City", int], ids=str)
async def test_what_is_no_model_is_refused_before_any_model_runs(way: str, kind: Any) -> None:
    llm = DeepenLLM(ensemble=speaking(PARIS))
    ran = [speaker.steps for speaker in speakers(llm.load())]
    with pytest.raises(ConfigError, match="is no pydantic model"):
        await predicted(llm, way, kind)
    assert [speaker.steps for speaker in speakers(llm.load())] == ran
