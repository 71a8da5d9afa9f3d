"""The core's outputs in LangChain's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult

from deepen_llm import CallDelta, Candidate, Output, Piece, Sample, TokenLogprob


def llm_result(members: Sequence[str], outputs: Sequence[Output]) -> LLMResult:
    """What `BaseLLM` returns for prompts."""
    generations = [[_generation(members, sample) for sample in output.samples] for output in outputs]
    counted = [usage(output) for output in outputs]
    total = {key: sum(one[key] for one in counted) for key in counted[0]} if counted else {}
    return LLMResult(generations=generations, llm_output={"token_usage": total, **described(members)})


def chat_result(members: Sequence[str], output: Output) -> ChatResult:
    """What `BaseChatModel` returns for a conversation."""
    generations = [
        ChatGeneration(message=_message(output, sample), generation_info=info(members, sample))
        for sample in output.samples
    ]
    return ChatResult(generations=generations, llm_output={"token_usage": usage(output), **described(members)})


def described(members: Sequence[str]) -> dict[str, Any]:
    """Which models have answered."""
    return {"model_name": "+".join(members), "members": list(members)}


def usage(output: Output) -> dict[str, int]:
    """Token counts of an output, over all its samples."""
    used = output.usage
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.total_tokens,
    }


def info(members: Sequence[str], sample: Sample) -> dict[str, Any]:
    """How an answer came about."""
    said: dict[str, Any] = {"finish_reason": sample.finish_reason, **described(members)}
    if sample.logprobs is not None:
        said["logprobs"] = {"content": [_logprob(one) for one in sample.logprobs]}
    if sample.trace is not None:
        said["trace"] = [asdict(one) for one in sample.trace]
    return said


def _generation(members: Sequence[str], sample: Sample) -> Generation:
    return Generation(text=sample.text, generation_info=info(members, sample))


def _message(output: Output, sample: Sample) -> AIMessage:
    return AIMessage(
        content=sample.text,
        additional_kwargs=_thoughts(sample.reasoning),
        tool_calls=[tool_call(name=one.name, args=dict(one.arguments), id=one.id) for one in sample.tool_calls],
        usage_metadata=_usage_metadata(output, sample),
    )


def _usage_metadata(output: Output, sample: Sample) -> UsageMetadata:
    asked, answered = output.usage.prompt_tokens, len(sample.tokens)
    counts = {"input_tokens": asked, "output_tokens": answered, "total_tokens": asked + answered}
    return cast("UsageMetadata", counts)  # its other keys need not be there, which type checkers on 3.10 do not see


def _thoughts(reasoning: str) -> dict[str, Any]:
    return {"reasoning_content": reasoning} if reasoning else {}


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    return {**_candidate(one), "top_logprobs": [_candidate(other) for other in one.top]}


def _candidate(one: Candidate) -> dict[str, Any]:
    return {"token": one.text, "id": one.token, "logprob": one.logprob}


class Chunks:
    """Makes chunks of a chat's pieces.

    LangChain numbers the blocks of text and reasoning from 0, and merges blocks of one number: calls are numbered
    after them.
    """

    def __init__(self) -> None:
        self._before, self._kind = 0, ""

    def piece(self, piece: Piece) -> ChatGenerationChunk:
        """The chunk of a piece."""
        for kind, said in (("reasoning", piece.reasoning), ("text", str(piece))):
            if said and kind != self._kind:
                self._before, self._kind = self._before + 1, kind
        message = AIMessageChunk(
            content=str(piece),
            additional_kwargs=_thoughts(piece.reasoning),
            tool_call_chunks=self._calls(piece.tool_calls),
        )
        return ChatGenerationChunk(message=message)

    def last(self, members: Sequence[str], output: Output) -> ChatGenerationChunk:
        """The chunk that says how it ended."""
        sample = output.samples[0]
        message = AIMessageChunk(content="", usage_metadata=_usage_metadata(output, sample), chunk_position="last")
        said = {**info(members, sample), "token_usage": usage(output)}
        return ChatGenerationChunk(message=message, generation_info=said)

    def _calls(self, deltas: Sequence[CallDelta]) -> list[ToolCallChunk]:
        """One chunk for each call: LangChain merges chunks of two messages, never two of one."""
        of_call: dict[int, list[CallDelta]] = {}
        for delta in deltas:
            of_call.setdefault(delta.index, []).append(delta)
        return [
            tool_call_chunk(
                name=parts[0].name,
                args="".join(part.arguments for part in parts),
                id=parts[0].id,
                index=self._before + index,
            )
            for index, parts in of_call.items()
        ]
