"""Converts the ensemble's outputs to LlamaIndex's responses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from deepen_llm import Candidate, EnsembleLLM, Output, Sample

Call = tuple[str, str, dict[str, Any] | str]
"""A call's id, its tool, and its arguments: as JSON while they are incomplete."""

_IMPOSSIBLE = -9999.0  # stands for minus infinity, which JSON does not have, as in OpenAI's interface


def completion_response(ensemble: EnsembleLLM, output: Output, delta: str | None = None) -> CompletionResponse:
    """The response of a completion.

    Args:
        ensemble: The ensemble that wrote the output.
        output: The output.
        delta: The new text, for the last response of a stream.
    """
    raw = _raw(ensemble, output)
    return CompletionResponse(
        text=output.text, delta=delta, raw=raw, logprobs=_logprobs(ensemble, output), additional_kwargs={**raw["usage"]}
    )


def chat_response(ensemble: EnsembleLLM, output: Output, delta: str | None = None) -> ChatResponse:
    """The response of a chat; see `completion_response`."""
    raw = _raw(ensemble, output)
    calls = [(call.id, call.name, dict(call.arguments)) for call in output.tool_calls]
    return ChatResponse(
        message=message(output.text, output.reasoning, calls),
        delta=delta,
        raw=raw,
        logprobs=_logprobs(ensemble, output),
        additional_kwargs={**raw["usage"]},
    )


def message(text: str, reasoning: str, calls: Sequence[Call]) -> ChatMessage:
    """The assistant's message.

    Args:
        text: Its text.
        reasoning: The reasoning before the text.
        calls: Its tool calls.
    """
    blocks: list[ContentBlock] = [ThinkingBlock(content=reasoning)] if reasoning else []
    if text or not calls:
        blocks.append(TextBlock(text=text))
    blocks += [ToolCallBlock(tool_call_id=id_, tool_name=name, tool_kwargs=given) for id_, name, given in calls]
    called = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": _as_json(given)}}
        for id_, name, given in calls
    ]
    return ChatMessage(
        role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs={"tool_calls": called} if called else {}
    )


def _as_json(arguments: dict[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _raw(ensemble: EnsembleLLM, output: Output) -> dict[str, Any]:
    """All fields of an output, as JSON."""
    names = [member.name for member in ensemble.members]
    usage = {**asdict(output.usage), "total_tokens": output.usage.total_tokens}
    raw: dict[str, Any] = _finite(
        {
            "model": model_name(names),
            "members": names,
            "main_model": ensemble.main_model.name,
            "choices": [{"index": index, **_choice(sample)} for index, sample in enumerate(output.samples)],
            "finish_reason": output.finish_reason,
            "usage": usage,
        }
    )
    return raw


def model_name(members: Sequence[str]) -> str:
    """The name of an ensemble: its members' names, joined."""
    return "+".join(members)


def _choice(sample: Sample) -> dict[str, Any]:
    choice: dict[str, Any] = {"text": sample.text, "finish_reason": sample.finish_reason}
    if sample.left_out:
        choice["left_out"] = list(sample.left_out)
    if sample.tool_calls:
        choice["tool_calls"] = [asdict(call) for call in sample.tool_calls]
    if sample.trace is not None:
        choice["trace"] = [asdict(step) for step in sample.trace]
    return choice


def _finite(given: Any) -> Any:
    """The same value with finite numbers only."""
    if isinstance(given, dict):
        return {key: _finite(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [_finite(value) for value in given]
    return _IMPOSSIBLE if isinstance(given, float) and not math.isfinite(given) else given


def _logprobs(ensemble: EnsembleLLM, output: Output) -> list[list[LogProb]] | None:
    """For each token, its log-probability and then those of the other likely tokens; None if not requested."""
    if output.logprobs is None:
        return None
    surfaces = ensemble.main_model.vocabulary.surfaces
    ranked = ([chosen, *(other for other in chosen.top if other.token != chosen.token)] for chosen in output.logprobs)
    return [[_logprob(surfaces, candidate) for candidate in candidates] for candidates in ranked]


def _logprob(surfaces: Sequence[bytes | None], candidate: Candidate) -> LogProb:
    surface = surfaces[candidate.token] or b""
    return LogProb(token=candidate.text, logprob=max(candidate.logprob, _IMPOSSIBLE), bytes=list(surface))
