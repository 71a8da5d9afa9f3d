"""Rows callers, first-token and second-turn: what calls that share the engine cost, with the bundled specialists."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from benchmarks.rows import RowResult
from benchmarks.setting import BenchmarkSetting, OnProgress
from deepen_llm import EnsembleLLM, specialists
from deepen_llm.diagnostics.timing import Ratio, in_turn, seconds
from deepen_llm.engine.engine import Engine
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.requests.build import Requests

_CALLERS = 32
_BESIDE = 16  # sequences that run while a request is added
_TOKENS = 24


def measure(setting: BenchmarkSetting, on_progress: OnProgress) -> Iterator[RowResult]:
    """Measure all three."""
    on_progress("loading")
    llm = EnsembleLLM.from_pretrained(specialists.paths(), device=str(setting.device), batch_size=_CALLERS)
    yield _callers(llm, setting, on_progress)
    yield _first_token(llm)
    yield _second_turn(llm)


def _callers(llm: EnsembleLLM, setting: BenchmarkSetting, on_progress: OnProgress) -> RowResult:
    """Calls of 32 threads, which begin together, against one batch of the same prompts."""
    prompts = [question.question for question in specialists.questions("test")[:_CALLERS]]

    def by_threads() -> list[Any]:
        return list(pool.map(lambda prompt: llm.generate(prompt, max_new_tokens=_TOKENS), prompts))

    with ThreadPoolExecutor(_CALLERS) as pool:
        sides = {
            "threads": lambda: seconds(by_threads),
            "batch": lambda: seconds(lambda: llm.generate(prompts, max_new_tokens=_TOKENS)),
        }
        in_turn(sides, 1)
        took = in_turn(sides, setting.sizes.repeats + 3, on_progress)
    note = f"{_CALLERS} threads, {_TOKENS} tokens each"
    return RowResult("callers", Ratio.between(took["threads"], took["batch"]), note, took)


def _first_token(llm: EnsembleLLM) -> RowResult:
    """Steps from adding a request to its first token, while others run."""
    engine, steps = Engine(llm.ensemble, _CALLERS), list[float]()
    requests = _requests(llm, [question.question for question in specialists.questions("test")[: _BESIDE + 8]])
    for request in requests[:_BESIDE]:
        engine.add(request)
    engine.step()
    for request in requests[_BESIDE:]:
        engine.add(request)
        before = len(steps)
        steps.append(0)
        while not any(sequence.begun for sequence in request.sequences):
            engine.step()
            steps[before] += 1
        engine.abort(request)
    engine.close()
    note = f"prompts of a question, {_BESIDE} sequences beside"
    return RowResult("first-token", Ratio.of(steps), note, {"steps": steps})


def _second_turn(llm: EnsembleLLM) -> RowResult:
    """Tokens that the members compute for the first token of a second turn, over those that are new in it."""
    history = [{"role": "user", "content": " ".join(q.question for q in specialists.questions("dev")[:12])}]
    answer = llm.chat(history, max_new_tokens=_TOKENS)
    history += [answer.message, {"role": "user", "content": "What is the capital of France?"}]
    before, counts = [len(member.encode_chat(history[:1]).ids) for member in llm.members], list[int]()
    models: list[Any] = [getattr(member, "model", None) for member in llm.members]
    handles = [model.register_forward_pre_hook(_counting(counts), with_kwargs=True) for model in models]
    try:
        llm.chat(history, max_new_tokens=1)
    finally:
        for handle in handles:
            handle.remove()
    new = sum(len(member.encode_chat(history).ids) - count for member, count in zip(llm.members, before, strict=True))
    note = f"{sum(counts)} tokens computed, {new} after the first turn's prompt, of {sum(before) + new}"
    return RowResult("second-turn", Ratio.of([sum(counts) / new]), note, {"computed": counts, "new": new})


def _requests(llm: EnsembleLLM, prompts: list[str]) -> list[Request[Any]]:
    build = Requests(SharedEngine(llm.ensemble, _CALLERS), llm.settings)
    built = build.for_prompts(prompts, {"max_new_tokens": 200}).requests
    return [request for request in built if isinstance(request, Request)]


def _counting(counts: list[int]) -> Any:
    def count(_: torch.nn.Module, __: Any, given: dict[str, Any]) -> None:
        counts.append(given["input_ids"].numel())

    return count
