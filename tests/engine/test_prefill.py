"""Long prompts are read in parts, so that running sequences go on, and no answer depends on it (law 13)."""

from typing import Any

import pytest

from deepen_llm import EnsembleLLM
from deepen_llm.engine.answer import Answer
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.prefill import PREFILL_TOKENS
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.members.local.cached_context import CachedContext
from deepen_llm.requests.build import Requests
from tests.models import CONFIGS, TYPES, small

LONG = "She sells sea shells by the sea shore, and the quick brown fox jumps over the lazy dog. " * 46
PARTS = 3


@pytest.fixture
def llm() -> EnsembleLLM:
    """Members that have read nothing."""
    kinds = (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"))
    return EnsembleLLM([small(*kind, seed=seed) for seed, kind in enumerate(kinds)])


def requests_of(llm: EnsembleLLM, *prompts: str, **options: Any) -> list[Request[Any]]:
    built = Requests(SharedEngine(llm.ensemble, 8), llm.settings).for_prompts(prompts, options).requests
    return [request for request in built if isinstance(request, Request)]


def decode_beside(llm: EnsembleLLM, late: Request[Any], early: Request[Any]) -> None:
    """Decode both; the late one is added after the first step of the early one."""
    engine = Engine(llm.ensemble, 8)
    engine.add(early)
    engine.step()
    engine.add(late)
    while engine.has_unfinished:
        engine.step()


def tokens_of(request: Request[Any]) -> list[tuple[int, ...]]:
    assert request.failure is None
    return [tuple(answer.tokens) for answer in request.sequences if isinstance(answer, Answer)]


@pytest.mark.parametrize("draft_tokens", [0, 3])
def test_running_sequences_take_a_token_in_every_step_while_a_long_prompt_is_read(
    llm: EnsembleLLM, draft_tokens: int
) -> None:
    llm = EnsembleLLM(llm.members, draft_tokens=draft_tokens)
    long, short = requests_of(llm, LONG, "The quick", max_new_tokens=30)
    assert len(long.prompt[0].ids) > PARTS * PREFILL_TOKENS
    engine = Engine(llm.ensemble, 8)
    engine.add(short)
    engine.step()
    engine.add(long)
    steps = 0
    while not long.sequences[0].begun:
        before = len(short.sequences[0].tokens)
        engine.step()
        steps += 1
        assert len(short.sequences[0].tokens) > before or short.ended
    assert steps > PARTS
    while engine.has_unfinished:
        engine.step()
    alone = [llm.generate(prompt, max_new_tokens=30) for prompt in (LONG, "The quick")]
    assert [tokens_of(request) for request in (long, short)] == [[tuple(out.tokens)] for out in alone]


def test_a_short_prompt_begins_in_the_step_in_which_it_is_added(llm: EnsembleLLM) -> None:
    engine, running = Engine(llm.ensemble, 32), requests_of(llm, *["The quick"] * 16, max_new_tokens=20)
    for request in running:
        engine.add(request)
    engine.step()
    (late,) = requests_of(llm, "She sells", max_new_tokens=5)
    engine.add(late)
    engine.step()
    assert late.sequences[0].begun
    engine.close()


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("goes", ["long", "short"])
def test_who_goes_while_a_long_prompt_is_read_leaves_the_other_as_alone(
    llm: EnsembleLLM, steps: int, goes: str
) -> None:
    long, short = requests_of(llm, LONG, "The quick", max_new_tokens=12)
    engine = Engine(llm.ensemble, 8)
    engine.add(short)
    engine.step()
    engine.add(long)
    for _ in range(steps):
        engine.step()
    gone, left = (long, short) if goes == "long" else (short, long)
    engine.abort(gone)
    while engine.has_unfinished:
        engine.step()
    prompt = "The quick" if goes == "long" else LONG
    assert tokens_of(left) == [tuple(llm.generate(prompt, max_new_tokens=12).tokens)]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_fault_while_a_long_prompt_is_read_is_its_own_only(
    llm: EnsembleLLM, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = CachedContext.prefill, 0

    def failing(self: CachedContext, most: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 2 * part:  # two members
            raise RuntimeError("a fault in prefill")
        own(self, most)

    monkeypatch.setattr(CachedContext, "prefill", failing)
    long, short = requests_of(llm, LONG, "The quick", max_new_tokens=12)
    decode_beside(llm, long, short)
    assert str(long.failure) == "a fault in prefill"
    assert tokens_of(short) == [tuple(llm.generate("The quick", max_new_tokens=12).tokens)]


# Which tokens DeepSeek's sparse attention chooses changes with the rounding of each forward, in transformers too.
@pytest.mark.parametrize("architecture", sorted({*CONFIGS, *TYPES} - {"deepseek_v32"}))
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_every_architecture_answers_as_if_its_prompt_were_read_at_once(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepen_llm.engine.engine.PREFILL_TOKENS", 16)
    llm = EnsembleLLM([small(architecture, "byte_level_bpe")])
    prompt = LONG[:90] if architecture == "dynamic_rope" else LONG[:400]  # its window is small
    long, short = requests_of(llm, prompt, "The quick", max_new_tokens=12)
    decode_beside(llm, long, short)
    fresh = EnsembleLLM([small(architecture, "byte_level_bpe")])
    assert tokens_of(long) == [tuple(fresh.generate(prompt, max_new_tokens=12).tokens)]
