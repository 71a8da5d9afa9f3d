"""Query engines in every response mode and chat engines, over real retrieval, with no network."""

import json
from typing import Any

import pytest
from deepen_li_members import speaking
from llama_index.core import Document, PromptTemplate, Settings, SummaryIndex, get_response_synthesizer
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.response_synthesizers.refine import StructuredRefineResponse
from llama_index.llms.deepen import DeepenLLM
from llama_index.retrievers.bm25 import BM25Retriever
from pydantic import BaseModel

FACTS = {
    "France": "The capital of France is Paris, on the river Seine.",
    "Italy": "The capital of Italy is Rome, on the river Tiber.",
    "Hungary": "The capital of Hungary is Budapest, on the river Danube.",
    "gold": "Gold is a chemical element with the symbol Au.",
}
QUESTION = "What is the capital of Hungary?"
ANSWER = "Budapest is the capital."
FREE_MODES = [mode for mode in ResponseMode if mode not in {ResponseMode.NO_TEXT, ResponseMode.CONTEXT_ONLY}]


def reads(prompt: str) -> str:
    """Answers from the context that it is shown, and from nothing else."""
    if "rephrase the follow up" in prompt.lower() or "standalone question" in prompt.lower():
        return f" {QUESTION}"
    return f" {ANSWER}" if "is Budapest" in prompt or ANSWER in prompt else " I do not know."


@pytest.fixture
def llm() -> DeepenLLM:
    Settings.llm = DeepenLLM(ensemble=speaking(reads), max_new_tokens=64)
    Settings.tokenizer = Settings.llm.load().members[0].tokenizer
    return Settings.llm


def retriever() -> BM25Retriever:
    nodes = SentenceSplitter(chunk_size=128, chunk_overlap=0).get_nodes_from_documents(
        [Document(text=text, doc_id=name) for name, text in FACTS.items()]
    )
    return BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=2)


def engine(llm: DeepenLLM, mode: ResponseMode, **given: Any) -> RetrieverQueryEngine:
    synthesizer = get_response_synthesizer(llm=llm, response_mode=mode, **given)
    return RetrieverQueryEngine(retriever=retriever(), response_synthesizer=synthesizer)


def test_the_right_document_is_retrieved(llm: DeepenLLM) -> None:
    assert "Budapest" in retriever().retrieve(QUESTION)[0].text


@pytest.mark.parametrize("mode", FREE_MODES, ids=str)
def test_a_query_engine_answers_and_streams_in_every_mode(llm: DeepenLLM, mode: ResponseMode) -> None:
    answer = str(engine(llm, mode).query(QUESTION))
    if "accumulate" not in mode.value:  # LlamaIndex streams no accumulation
        pieces = list(engine(llm, mode, streaming=True).query(QUESTION).response_gen)
        assert len(pieces) > 3
        assert "".join(pieces) == answer
    assert (ANSWER in answer) == (mode != ResponseMode.GENERATION)  # which shows the model no context
    assert "[INST]" not in answer
    assert "Query:" not in answer


@pytest.mark.parametrize("mode", FREE_MODES, ids=str)
async def test_a_query_engine_asynchronously(llm: DeepenLLM, mode: ResponseMode) -> None:
    assert (ANSWER in str(await engine(llm, mode).aquery(QUESTION))) == (mode != ResponseMode.GENERATION)


@pytest.mark.parametrize("mode", [ResponseMode.NO_TEXT, ResponseMode.CONTEXT_ONLY], ids=str)
def test_modes_that_ask_no_model(llm: DeepenLLM, mode: ResponseMode) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm.callback_manager = CallbackManager([debug])
    response = engine(llm, mode).query(QUESTION)
    assert "Budapest" in response.source_nodes[0].text
    assert debug.get_event_pairs(CBEventType.LLM) == []


def test_answers_are_packed_into_the_smallest_window() -> None:
    small = DeepenLLM(ensemble=speaking(reads, windows=(8192, 700)), max_new_tokens=32)
    Settings.tokenizer = small.load().members[1].tokenizer
    index = SummaryIndex.from_documents([Document(text=" ".join(FACTS.values()) * 6)])
    answer = index.as_query_engine(llm=small, response_mode="tree_summarize").query(QUESTION)
    assert ANSWER in str(answer)


class City(BaseModel):
    name: str


def test_a_query_engine_answers_in_a_structure() -> None:
    said = '{"name": "Budapest"}'
    llm = DeepenLLM(ensemble=speaking(said), max_new_tokens=64)
    response = engine(llm, ResponseMode.TREE_SUMMARIZE, output_cls=City).query(QUESTION)
    assert response.response == City(name="Budapest")


def test_refinement_may_filter_by_structured_answers() -> None:
    values = {"query_satisfied": True, "answer": "Budapest is the capital."}
    arguments = json.dumps({name: values[name] for name in StructuredRefineResponse.model_fields})
    said = '<tool_call>\n{"name": "StructuredRefineResponse", "arguments": ' + arguments + "}\n</tool_call>"
    llm = DeepenLLM(ensemble=speaking(said), max_new_tokens=64)
    assert str(engine(llm, ResponseMode.REFINE, structured_answer_filtering=True).query(QUESTION)) == ANSWER


def test_base_models_complete_the_engines_prompts() -> None:
    llm = DeepenLLM(ensemble=speaking(reads, marks=("Answer: ",)), is_chat_model=False, max_new_tokens=64)
    answer = str(engine(llm, ResponseMode.COMPACT).query(QUESTION))
    assert answer.strip() == ANSWER


def chat_engines(llm: DeepenLLM) -> dict[str, Any]:
    given = {"llm": llm, "memory": ChatMemoryBuffer.from_defaults(llm=llm)}
    return {
        "context": ContextChatEngine.from_defaults(retriever=retriever(), **given),
        "condense_question": CondenseQuestionChatEngine.from_defaults(
            query_engine=engine(llm, ResponseMode.COMPACT), **given
        ),
        "condense_plus_context": CondensePlusContextChatEngine.from_defaults(retriever=retriever(), **given),
        "simple": SimpleChatEngine.from_defaults(system_prompt=FACTS["Hungary"], **given),
    }


@pytest.mark.parametrize("kind", ["simple", "context", "condense_question", "condense_plus_context"])
async def test_chat_engines_hold_a_conversation(llm: DeepenLLM, kind: str) -> None:
    talk = chat_engines(llm)[kind]
    assert ANSWER in talk.chat(QUESTION).response
    assert ANSWER in "".join(talk.stream_chat("And again?" if kind.startswith("condense") else QUESTION).response_gen)
    assert ANSWER in (await talk.achat(QUESTION)).response
    streamed = await talk.astream_chat(QUESTION)
    assert ANSWER in "".join([piece async for piece in streamed.async_response_gen()])
    assert len(talk.chat_history) == 8
    talk.reset()
    assert talk.chat_history == []


def test_predictions_go_through_the_chat_template(llm: DeepenLLM) -> None:
    asked = PromptTemplate("The capital of Hungary is Budapest. {question}")
    assert llm.predict(asked, question=QUESTION) == f" {ANSWER}"
    assert "".join(llm.stream(asked, question=QUESTION)) == f" {ANSWER}"
