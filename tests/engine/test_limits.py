"""What can never run, or may not wait, is refused when it is added, with numbers; the others go on."""

from collections.abc import Callable
from typing import Any

import pytest

from deepen_llm import EnsembleLLM
from deepen_llm.engine import scheduler
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import ConfigError, ContextLengthError, MemoryLimitError, QueueFullError
from deepen_llm.requests.build import Requests

PROMPT = "The quick brown fox"


def requests_of(llm: EnsembleLLM, count: int, **options: Any) -> list[Request[Any]]:
    built = Requests(SharedEngine(llm.ensemble, 8), llm.settings).for_prompts([PROMPT] * count, options).requests
    return [request for request in built if isinstance(request, Request)]


def test_a_full_queue_refuses_further_requests_and_finishes_the_others(llm: EnsembleLLM) -> None:
    engine = Engine(llm.ensemble, 2, max_waiting=1)
    requests = requests_of(llm, 4, max_new_tokens=3)
    for request in requests[:3]:
        engine.add(request)
    with pytest.raises(QueueFullError, match=r"at most 3 sequences .*batch_size=2.*max_waiting=1.* got 1 more than 3"):
        engine.add(requests[3])
    engine.step()
    with pytest.raises(QueueFullError):
        engine.add(requests[3])
    while engine.running:
        engine.step()
    engine.add(requests[3])  # there is room now
    while engine.has_unfinished:
        engine.step()
    assert len({tuple(request.sequences[0].tokens) for request in requests}) == 1


@pytest.mark.parametrize("ask", [lambda llm, prompts: llm.generate(prompts, max_new_tokens=2)], ids=["generate"])
def test_a_call_with_more_texts_than_may_wait_ends_in_the_error(ask: Callable[..., Any], llm: EnsembleLLM) -> None:
    bounded = EnsembleLLM(llm.members, batch_size=2, max_waiting=2)
    assert len(ask(bounded, [PROMPT] * 4)) == 4
    with pytest.raises(QueueFullError):
        ask(bounded, [PROMPT] * 5)
    assert len(ask(bounded, [PROMPT] * 4)) == 4


def test_a_request_that_never_fits_into_memory_is_refused_with_numbers(
    llm: EnsembleLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "free_memory", lambda _: 1_000_000)
    with pytest.raises(MemoryLimitError, match=r"free memory of cpu \(0.001 GB\), got 1000 sequences of \d+ tokens"):
        llm.generate(PROMPT, max_new_tokens=2, n=1000)
    assert llm.generate(PROMPT, max_new_tokens=2).tokens  # what fits runs


def test_a_prompt_longer_than_a_window_is_refused_with_numbers(llm: EnsembleLLM) -> None:
    with pytest.raises(ContextLengthError, match=r"takes \d+ tokens in member .* holds 2048"):
        llm.generate(PROMPT * 1000)


def test_an_abort_of_what_was_never_added_is_no_error(llm: EnsembleLLM) -> None:
    engine = Engine(llm.ensemble, 2)
    engine.abort(*requests_of(llm, 1))
    assert not engine.has_unfinished


@pytest.mark.parametrize("setting", ["fusion", "weights", "gate", "batch_size", "on_member_failure", "draft_model"])
@pytest.mark.parametrize("method", ["generate", "chat", "stream", "stream_chat"])
def test_a_setting_that_cannot_be_per_request_says_so(llm: EnsembleLLM, setting: str, method: str) -> None:
    prompt: Any = [{"role": "user", "content": PROMPT}] if "chat" in method else PROMPT
    with pytest.raises(ConfigError, match=rf"{setting}= is a setting of the ensemble") as caught:
        getattr(llm, method)(prompt, **{setting: "unsure"})
    assert "llm.subset" in caught.value.hint
