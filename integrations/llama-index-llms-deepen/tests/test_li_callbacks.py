"""One event per call, in both of LlamaIndex's systems, and counts that agree with the tokenizer."""

from functools import cache
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from deepen_li_members import fresh, rested, speakers, speaking, tokenizer
from llama_index.core import PromptTemplate, Settings
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage
from llama_index.llms.deepen import DeepenLLM
from pydantic import BaseModel
from test_li_endpoints import ANSWER, PROMPT, Say, every_form, speaker

from deepen_llm import EnsembleLLM


class City(BaseModel):
    name: str


@cache
def said() -> list[int]:
    """The tokens of the answer."""
    return list(speaker().load().generate(PROMPT).tokens)


@cache
def failing() -> EnsembleLLM:
    return fresh(ANSWER, marks=("=>",))


class Seen(BaseEventHandler):
    names: list[str]

    def handle(self, event: Any, **_: Any) -> None:
        self.names.append(type(event).__name__)


@every_form
async def test_one_start_and_one_end_per_call_and_the_main_models_counts(say: Say) -> None:
    own = tokenizer("atlas")
    counter = TokenCountingHandler(tokenizer=own.encode)
    debug, seen = LlamaDebugHandler(print_trace_on_end=False), Seen(names=[])
    root = instrument.get_dispatcher()
    kept, root.event_handlers = root.event_handlers, [seen]
    try:
        _, responses = await say(speaker(callback_manager=CallbackManager([debug, counter])))
    finally:
        root.event_handlers = kept
    pairs = debug.get_event_pairs(CBEventType.LLM)
    assert [len(pair) for pair in pairs] == [2]
    assert len(debug.get_events()) == 2
    told = [name for name in seen.names if name.endswith(("StartEvent", "EndEvent")) and name.startswith("LLM")]
    kind = "Chat" if "chat" in say.__name__ else "Completion"
    assert told == [f"LLM{kind}StartEvent", f"LLM{kind}EndEvent"]
    assert seen.names.count(f"LLM{kind}InProgressEvent") == (len(responses) if len(responses) > 1 else 0)
    if kind == "Chat":
        hello = [{"role": "user", "content": PROMPT}]
        prompt = own.apply_chat_template(hello, add_generation_prompt=True, tokenize=True, return_dict=False)
    else:
        prompt = own.encode(f"{own.bos_token}{PROMPT}", add_special_tokens=False)
    assert counter.prompt_llm_token_count == len(prompt)
    assert counter.completion_llm_token_count == len(said())
    assert own.decode(said()) == f"{ANSWER}{own.eos_token}"


async def test_structured_prediction_is_one_call() -> None:
    debug, seen = LlamaDebugHandler(print_trace_on_end=False), Seen(names=[])
    llm = DeepenLLM(ensemble=speaking('{"name": "Paris"}'), callback_manager=CallbackManager([debug]))
    root = instrument.get_dispatcher()
    kept, root.event_handlers = root.event_handlers, [seen]
    try:
        llm.structured_predict(City, PromptTemplate("Describe Paris."))
        await llm.astructured_predict(City, PromptTemplate("Describe Paris."))
    finally:
        root.event_handlers = kept
    told = ["LLMStructuredPredictStartEvent", "LLMChatStartEvent", "LLMChatEndEvent", "LLMStructuredPredictEndEvent"]
    assert [name for name in seen.names if name in told] == told * 2
    assert [len(pair) for pair in debug.get_event_pairs(CBEventType.LLM)] == [2, 2]


@every_form
async def test_a_call_that_fails_ends_its_event_with_the_error(say: Say) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm = DeepenLLM(ensemble=rested(failing()), callback_manager=CallbackManager([debug]))
    speakers(llm.load())[1].fail_at = 3
    with pytest.raises(RuntimeError, match="fell off"):
        await say(llm)
    (pair,) = debug.get_event_pairs(CBEventType.LLM)
    assert "fell off" in str(pair[1].payload["exception"])


def test_the_frameworks_own_counting_takes_the_main_models_tokenizer() -> None:
    own = tokenizer("atlas")
    assert len(Settings.tokenizer(ANSWER)) > 0  # tiktoken's, out of the package: no download
    Settings.tokenizer = own
    assert Settings.tokenizer(ANSWER) == own.encode(ANSWER, add_special_tokens=False)
    assert ChatMessage(ANSWER).estimate_tokens() == len(Settings.tokenizer(ANSWER))
