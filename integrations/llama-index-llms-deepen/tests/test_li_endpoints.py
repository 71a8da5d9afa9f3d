"""The eight endpoints: one text in every form, options obeyed, responses that say what happened."""

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from deepen_li_members import gathered, generation_mark, random_members, speaking, tokenizer
from llama_index.core.llms import ChatMessage
from llama_index.llms.deepen import DeepenLLM
from llama_index.llms.deepen.settings import SAMPLING

from deepen_llm import EnsembleLLM, GenerationOptions, specialists
from deepen_llm.errors import PromptError

PROMPT = "Say it =>"
ANSWER = " ö 🚀 dog, it was right! So."
BEGIN = tokenizer("atlas").bos_token
STOP = " was right!"  # at least three tokens of either member
Say = Callable[..., Awaitable[tuple[str, list[Any]]]]


def speaker(**given: Any) -> DeepenLLM:
    """A model that continues the prompt with the answer, and says the same to whoever asks."""
    return DeepenLLM(ensemble=speaking(ANSWER, marks=("=>",)), **given)


def text_of(response: Any) -> str:
    return response.text if hasattr(response, "text") else response.message.content


def form(name: str) -> Say:
    """An endpoint, asked with the prompt."""

    async def say(llm: DeepenLLM, **given: Any) -> tuple[str, list[Any]]:
        asked = [ChatMessage(PROMPT)] if "chat" in name else PROMPT
        responses = await gathered(name, getattr(llm, name)(asked, **given))
        return text_of(responses[-1]), responses

    say.__name__ = name
    return say


FORMS = [f"{kind}{what}" for what in ("complete", "chat") for kind in ("", "stream_", "a", "astream_")]
STANDING = {"complete", "astream_complete", "stream_chat", "achat"}  # others are told with the call where to stop
every_form = pytest.mark.parametrize("say", [form(name) for name in FORMS], ids=FORMS)


@every_form
async def test_every_form_says_the_same_and_echoes_no_prompt(say: Say) -> None:
    text, responses = await say(speaker())
    assert text == ANSWER
    if len(responses) > 1:
        assert "".join(response.delta for response in responses) == ANSWER
        for i, response in enumerate(responses):
            assert text_of(response) == "".join(one.delta for one in responses[: i + 1])
        assert any("🚀" in response.delta for response in responses)


@every_form
async def test_a_stop_string_of_three_tokens_is_never_shown_in_part(say: Say) -> None:
    assert all(len(tokenizer(name).encode(STOP, add_special_tokens=False)) >= 3 for name in ("atlas", "curie"))
    wanted = ANSWER[: ANSWER.index(STOP)]
    standing = say.__name__ in STANDING
    text, responses = await (say(speaker(stop=STOP)) if standing else say(speaker(), stop=[STOP]))
    assert text == wanted
    assert responses[-1].raw["finish_reason"] == "stop"
    assert len(responses) == 1 or "".join(response.delta for response in responses) == wanted


@pytest.mark.parametrize(
    "given", [{}, {"response_format": {"type": "text"}}, {"tool_choice": {"type": "auto"}}], ids=str
)
def test_a_stop_string_of_the_instance_ends_whatever_is_free_text(given: dict[str, Any]) -> None:
    llm, wanted = speaker(stop=STOP), ANSWER[: ANSWER.index(STOP)]
    assert llm.chat([ChatMessage(PROMPT)], **given).message.content == wanted
    if "tool_choice" not in given:
        assert llm.complete(PROMPT, **given).text == wanted


@every_form
async def test_raw_is_plain_json_with_usage_and_logprobs_name_the_chosen_token_first(say: Say) -> None:
    _, responses = await say(speaker(logprobs=3), trace=True)
    raw = json.loads(json.dumps(responses[-1].raw, allow_nan=False))
    assert (raw["model"], raw["members"], raw["main_model"]) == ("atlas+curie", ["atlas", "curie"], "atlas")
    assert raw["finish_reason"] == "eos"
    assert [choice["text"] for choice in raw["choices"]] == [ANSWER]
    usage = raw["usage"]
    assert usage["completion_tokens"] == len(raw["choices"][0]["trace"]) == len(responses[-1].logprobs)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert all(response.raw is None for response in responses[:-1])
    logprobs = responses[-1].logprobs
    chosen = b"".join(bytes(candidates[0].bytes) for candidates in logprobs[:-1])  # the last ends the text
    assert chosen == ANSWER.encode()
    assert all(len(candidates) == 3 and -9999 <= one.logprob <= 0 for candidates in logprobs for one in candidates)


@every_form
async def test_options_of_a_call_go_before_those_of_the_instance(say: Say) -> None:
    llm = DeepenLLM(ensemble=random_members(0), max_new_tokens=4, temperature=1, seed=3)
    first, responses = await say(llm)
    assert responses[-1].raw["usage"]["completion_tokens"] <= 4
    assert (await say(llm))[0] == first
    assert (await say(llm, seed=4))[0] != first
    assert (await say(llm, max_new_tokens=2))[1][-1].raw["usage"]["completion_tokens"] == 2


def test_all_samples_are_in_raw() -> None:
    response = DeepenLLM(ensemble=random_members(0), max_new_tokens=4, temperature=1, seed=3, n=3).complete(PROMPT)
    assert len({choice["text"] for choice in response.raw["choices"]}) == 3
    assert response.raw["choices"][0]["text"] == response.text


def test_impossible_tokens_stay_plain_json() -> None:
    llm = DeepenLLM(ensemble=random_members(0), logprobs=2000, max_new_tokens=1)
    response = llm.complete(PROMPT, trace=True)
    json.dumps(response.raw, allow_nan=False)
    assert all(math.isfinite(one.logprob) for candidates in response.logprobs for one in candidates)


def test_every_sampling_option_of_the_core_can_be_set() -> None:
    assert {*SAMPLING, "trace", "response_format"} == {*GenerationOptions.model_fields}
    assert set(SAMPLING) <= set(DeepenLLM.model_fields)


def test_a_prompt_is_formatted_once() -> None:
    heard: list[str] = []
    ensemble = speaking(lambda prompt: heard.append(prompt) or ANSWER, marks=("=>",))
    llm = DeepenLLM(ensemble=ensemble, completion_to_prompt=lambda prompt: f"Please: {prompt}")
    llm.complete(PROMPT, max_new_tokens=1)
    llm.complete(PROMPT, formatted=True, max_new_tokens=1)
    of_main = [prompt for prompt in heard if prompt.startswith(BEGIN)]
    assert of_main == [f"{BEGIN}Please: {PROMPT}", f"{BEGIN}{PROMPT}"]


def test_messages_become_a_prompt_of_the_main_models_template_with_one_beginning() -> None:
    heard: list[str] = []
    llm = DeepenLLM(ensemble=speaking(lambda prompt: heard.append(prompt) or ANSWER), max_new_tokens=1)
    messages = [ChatMessage("Be brief.", role="system"), ChatMessage("Hello.")]
    prompt = llm.messages_to_prompt(messages)
    assert prompt.count(BEGIN) == 1
    assert prompt.endswith(generation_mark(tokenizer("atlas")))
    continued, answered = llm.complete(prompt, formatted=True), llm.chat(messages)
    assert continued.raw["usage"] == answered.raw["usage"]
    assert heard[0] == heard[2] == prompt
    main = llm.load().members[0]
    assert main.encode_prompt(prompt).ids == tuple(tokenizer("atlas").encode(prompt, add_special_tokens=False))


def test_metadata_tells_of_the_smallest_member() -> None:
    llm = DeepenLLM(ensemble=speaking(ANSWER, windows=(700, 300)), max_new_tokens=77)
    about = llm.metadata
    assert (about.context_window, about.num_output, about.model_name) == (300, 77, "atlas+curie")
    assert about.is_chat_model
    assert about.is_function_calling_model
    assert DeepenLLM(ensemble=llm.load(), is_chat_model=False).metadata.is_function_calling_model is False


def test_a_member_without_weight_bounds_nothing() -> None:
    both = speaking(ANSWER, windows=(700, 300))
    assert DeepenLLM(ensemble=EnsembleLLM(both.members, weights=[1, 0])).metadata.context_window == 700


@pytest.mark.parametrize("name", [name for name in FORMS if "complete" in name])
@pytest.mark.parametrize("formatted", [False, True])
async def test_a_prompt_that_is_no_string_is_refused_before_anything_is_loaded(name: str, formatted: bool) -> None:
    llm = DeepenLLM(members=specialists.paths(), completion_to_prompt=str)
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(EnsembleLLM, "from_config")
        for prompt in (["a"], None, 3):
            with pytest.raises(PromptError, match="a prompt of type"):
                await gathered(name, getattr(llm, name)(prompt, formatted=formatted))
