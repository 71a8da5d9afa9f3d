"""What LangChain's own suites ask of chat models, asked of a `BaseLLM`: they have none for it."""

from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import LONG, answers
from langchain_scripted import ensemble

from deepen_llm import EnsembleLLM
from deepen_llm.errors import PromptError

PROMPT = "The quick brown|"


class Heard(BaseCallbackHandler):
    """What the callbacks were told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.events: list[str] = []
        self.starts: list[dict[str, Any]] = []
        self.ends: list[Any] = []
        self.errors: list[BaseException] = []

    def on_llm_start(self, serialized: Any, prompts: Any, **given: Any) -> None:
        self.starts.append(given)
        self.events.append("start")

    def on_chat_model_start(self, serialized: Any, messages: Any, **given: Any) -> None:
        self.on_llm_start(serialized, messages, **given)

    def on_llm_new_token(self, token: str, **given: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **given: Any) -> None:
        self.events.append("end")
        self.ends.append(response)

    def on_llm_error(self, error: BaseException, **given: Any) -> None:
        self.events.append("error")
        self.errors.append(error)


class AsyncHeard(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: str, **given: Any) -> None:
        self.tokens.append(token)


async def test_every_form_gives_the_same_text_and_no_prompt(llm: DeepenLLM) -> None:
    forms = {
        "invoke": llm.invoke(PROMPT),
        "stream": "".join(llm.stream(PROMPT)),
        "batch": llm.batch([PROMPT, PROMPT])[1],
        "generate": llm.generate([PROMPT]).generations[0][0].text,
        "ainvoke": await llm.ainvoke(PROMPT),
        "astream": "".join([piece async for piece in llm.astream(PROMPT)]),
        "abatch": (await llm.abatch([PROMPT, PROMPT]))[1],
        "agenerate": (await llm.agenerate([PROMPT])).generations[0][0].text,
        "bind": llm.bind(temperature=0.1).invoke(PROMPT),
        "completed": dict(llm.batch_as_completed([PROMPT, PROMPT]))[1],
        "acompleted": dict([one async for one in llm.abatch_as_completed([PROMPT, PROMPT])])[1],
    }
    assert forms == dict.fromkeys(forms, LONG)


async def test_every_form_of_a_chat_gives_the_same_text_and_no_prompt(chat: ChatDeepen) -> None:
    forms = {
        "invoke": chat.invoke("Hello").text,
        "stream": "".join(chunk.text for chunk in chat.stream("Hello")),
        "batch": chat.batch(["Hello", "Hello"])[1].text,
        "generate": chat.generate([[HumanMessage("Hello")]]).generations[0][0].text,
        "ainvoke": (await chat.ainvoke("Hello")).text,
        "astream": "".join([chunk.text async for chunk in chat.astream("Hello")]),
        "abatch": (await chat.abatch(["Hello", "Hello"]))[1].text,
        "streaming": ChatDeepen(ensemble=chat.ensemble, streaming=True).invoke("Hello").text,
    }
    assert forms == dict.fromkeys(forms, LONG)


def test_messages_are_read_as_text(llm: DeepenLLM) -> None:
    assert llm.invoke([SystemMessage("Be brief."), HumanMessage("A list|")]) == LONG
    assert llm.invoke([("human", "x"), AIMessage("y|")]) == LONG


def test_a_chain_of_prompt_model_and_parser(llm: DeepenLLM) -> None:
    chain = PromptTemplate.from_template("{what}|") | llm | StrOutputParser()
    assert chain.invoke({"what": "A list"}) == "one, two, three"
    assert "".join(chain.stream({"what": "A list"})) == "one, two, three"
    assert chain.batch([{"what": "A list"}] * 2) == ["one, two, three"] * 2


def test_options_per_call_per_binding_and_per_instance(llm: DeepenLLM) -> None:
    short = llm.invoke(PROMPT, max_tokens=2)
    assert LONG.startswith(short)
    assert len(short) < 20
    assert llm.bind(max_new_tokens=2).invoke(PROMPT) == short
    assert DeepenLLM(ensemble=llm.ensemble, max_tokens=2).invoke(PROMPT) == short
    assert "".join(llm.stream(PROMPT, max_tokens=2)) == short
    assert llm.batch([PROMPT], max_tokens=2) == [short]


def test_metadata_of_a_generation(llm: DeepenLLM) -> None:
    result = llm.generate([PROMPT, "A list|"], n=2, logprobs=1)
    assert [len(one) for one in result.generations] == [2, 2]
    assert result.llm_output is not None
    used = result.llm_output["token_usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
    assert result.llm_output["model_name"] == "bytes+pieces"
    info = result.generations[1][0].generation_info
    assert info is not None
    assert info["finish_reason"] == "eos"
    assert info["members"] == ["bytes", "pieces"]
    spoken = "".join(one["token"] for one in info["logprobs"]["content"][:-1])  # the last ends the text
    assert spoken == "one, two, three"
    assert all(len(one["top_logprobs"]) == 1 and one["logprob"] <= 0 for one in info["logprobs"]["content"])


def test_metadata_of_a_message(chat: ChatDeepen) -> None:
    said = chat.invoke("Hello", logprobs=0)
    full: Any = None
    for chunk in chat.stream("Hello", logprobs=0):
        full = chunk if full is None else full + chunk
    for message in (said, full):
        assert message.usage_metadata["total_tokens"] == sum(
            message.usage_metadata[kind] for kind in ("input_tokens", "output_tokens")
        )
        assert message.response_metadata["finish_reason"] == "eos"
        assert message.response_metadata["model_name"] == "bytes+pieces"
        assert message.response_metadata["logprobs"]["content"]
    assert full.usage_metadata == said.usage_metadata
    assert full.response_metadata == said.response_metadata
    assert said.usage_metadata["input_tokens"] == chat.get_num_tokens_from_messages([HumanMessage("Hello")])
    several = chat.generate([[HumanMessage("Hello")]], n=3).generations[0]
    assert [one.text for one in several] == [LONG] * 3
    assert chat.invoke("Hello", trace=True).response_metadata["trace"][0]["members"][1]["name"] == "pieces"


async def test_callbacks_hear_every_piece_once_and_the_end_once(llm: DeepenLLM, live: EnsembleLLM) -> None:
    pieces = [str(piece) for piece in live.stream(PROMPT)]
    heard, later = Heard(), AsyncHeard()
    list(llm.stream(PROMPT, config={"callbacks": [heard]}))
    assert heard.tokens == pieces
    assert heard.events == ["start", "end"]
    assert heard.ends[0].generations[0][0].text == LONG
    assert heard.ends[0].generations[0][0].generation_info["token_usage"]["completion_tokens"] > 0
    assert [piece async for piece in llm.astream(PROMPT, config={"callbacks": [later]})] == [*pieces, ""]
    assert later.tokens == pieces
    quiet = Heard()
    llm.invoke(PROMPT, config={"callbacks": [quiet]})
    assert (quiet.tokens, quiet.events) == ([], ["start", "end"])


async def test_callbacks_of_a_chat_hear_every_piece_once_and_the_end_once(chat: ChatDeepen, live: EnsembleLLM) -> None:
    pieces = [str(piece) for piece in live.stream_chat([{"role": "user", "content": "Hello"}])]
    heard, later = Heard(), AsyncHeard()
    list(chat.stream("Hello", config={"callbacks": [heard]}))
    assert heard.tokens == [*pieces, ""]  # LangChain's own last chunk, which is empty
    assert heard.events == ["start", "end"]
    async for _ in chat.astream("Hello", config={"callbacks": [later]}):
        pass
    assert later.tokens == heard.tokens
    aloud = Heard()
    ChatDeepen(ensemble=live, streaming=True).invoke("Hello", config={"callbacks": [aloud]})
    assert (aloud.tokens, aloud.events) == (heard.tokens, ["start", "end"])


@pytest.mark.parametrize("form", ["invoke", "stream"])
@pytest.mark.parametrize(("model", "bad"), [("llm", ""), ("chat", [])])
def test_callbacks_hear_an_error(model: str, bad: Any, form: str, request: pytest.FixtureRequest) -> None:
    heard = Heard()
    with pytest.raises(PromptError):
        list(getattr(request.getfixturevalue(model), form)(bad, config={"callbacks": [heard]}))
    assert heard.events == ["start", "error"]


async def test_events_of_a_chain(chat: ChatDeepen, llm: DeepenLLM) -> None:
    for model, kind, prompt in ((chat, "chat_model", "Hello"), (llm, "llm", PROMPT)):
        names = [event["event"] async for event in model.astream_events(prompt, version="v2")]
        assert names[0] == f"on_{kind}_start"
        assert names[-1] == f"on_{kind}_end"
        assert names.count(f"on_{kind}_stream") > 5


def test_tokens_are_counted_by_the_main_models_tokenizer(llm: DeepenLLM, chat: ChatDeepen, live: EnsembleLLM) -> None:
    tokenizer = live.members[0].tokenizer  # type: ignore[attr-defined]
    for model in (llm, chat):
        assert model.get_token_ids("a lazy 狗") == tokenizer.encode("a lazy 狗", add_special_tokens=False)
        assert model.get_num_tokens("The quick brown fox") > 0
    assert llm.get_num_tokens(PROMPT) == live.generate(PROMPT, max_new_tokens=1).usage.prompt_tokens
    tool = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
    told = chat.bind_tools([tool]).invoke("Hello")
    assert (
        chat.get_num_tokens_from_messages([HumanMessage("Hello")], tools=[tool]) == told.usage_metadata["input_tokens"]
    )
    own = DeepenLLM(ensemble=live, custom_get_token_ids=lambda text: [0] * len(text))
    assert own.get_num_tokens("four") == 4


def test_samples_differ_and_a_seed_repeats_them(live: EnsembleLLM) -> None:
    llm = DeepenLLM(ensemble=ensemble(answers, strength=3.0), temperature=1.0, n=3, seed=5, max_tokens=8)
    first, second = (llm.generate([PROMPT]).generations[0] for _ in range(2))
    assert len({one.text for one in first}) == 3
    assert [one.text for one in first] == [one.text for one in second]
