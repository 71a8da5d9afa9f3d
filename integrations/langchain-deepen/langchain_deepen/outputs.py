"""Converts outputs of `deepen_llm` to LangChain's."""

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
    """The result of `BaseLLM` for several prompts."""
    generations = [[_generation(members, sample) for sample in output.samples] for output in outputs]
    counts = [usage(output) for output in outputs]
    total = {key: sum(count[key] for count in counts) for key in counts[0]} if counts else {}
    return LLMResult(generations=generations, llm_output={"token_usage": total, **described(members)})


def chat_result(members: Sequence[str], output: Output) -> ChatResult:
    """The result of `BaseChatModel` for one conversation."""
    generations = [
        ChatGeneration(message=_message(output, sample), generation_info=info(members, sample))
        for sample in output.samples
    ]
    return ChatResult(generations=generations, llm_output={"token_usage": usage(output), **described(members)})


def described(members: Sequence[str]) -> dict[str, Any]:
    """The names of the members that answered."""
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
    """The generation info of a sample: finish reason, members, log-probabilities and trace."""
    fields: dict[str, Any] = {"finish_reason": sample.finish_reason, **described(members)}
    if sample.left_out:
        fields["left_out"] = list(sample.left_out)
    if sample.logprobs is not None:
        fields["logprobs"] = {"content": [_logprob(token) for token in sample.logprobs]}
    if sample.trace is not None:
        fields["trace"] = [asdict(token) for token in sample.trace]
    return fields


def _generation(members: Sequence[str], sample: Sample) -> Generation:
    return Generation(text=sample.text, generation_info=info(members, sample))


def _message(output: Output, sample: Sample) -> AIMessage:
    return AIMessage(
        content=sample.text,
        additional_kwargs=_reasoning(sample.reasoning),
        tool_calls=[tool_call(name=call.name, args=dict(call.arguments), id=call.id) for call in sample.tool_calls],
        usage_metadata=_usage_metadata(output, sample),
    )


def _usage_metadata(output: Output, sample: Sample) -> UsageMetadata:
    prompt, answer = output.usage.prompt_tokens, len(sample.tokens)
    counts = {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer}
    return cast("UsageMetadata", counts)  # its other keys are optional, which type checkers on 3.10 do not know


def _reasoning(reasoning: str) -> dict[str, Any]:
    return {"reasoning_content": reasoning} if reasoning else {}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {**_candidate(token), "top_logprobs": [_candidate(other) for other in token.top]}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {"token": candidate.text, "id": candidate.token, "logprob": candidate.logprob}


class Chunks:
    """Converts the pieces of a chat to chunks.

    LangChain numbers blocks of text and reasoning from 0, and merges blocks with equal numbers; so the numbers of tool
    calls continue after those of the blocks before them.
    """

    def __init__(self) -> None:
        self._before, self._kind = 0, ""

    def piece(self, piece: Piece) -> ChatGenerationChunk:
        """The chunk of a piece."""
        for kind, text in (("reasoning", piece.reasoning), ("text", str(piece))):
            if text and kind != self._kind:
                self._before, self._kind = self._before + 1, kind
        message = AIMessageChunk(
            content=str(piece),
            additional_kwargs=_reasoning(piece.reasoning),
            tool_call_chunks=self._calls(piece.tool_calls),
        )
        return ChatGenerationChunk(message=message)

    def last(self, members: Sequence[str], output: Output) -> ChatGenerationChunk:
        """The last chunk, with the generation info."""
        sample = output.samples[0]
        message = AIMessageChunk(content="", usage_metadata=_usage_metadata(output, sample), chunk_position="last")
        fields = {**info(members, sample), "token_usage": usage(output)}
        return ChatGenerationChunk(message=message, generation_info=fields)

    def _calls(self, deltas: Sequence[CallDelta]) -> list[ToolCallChunk]:
        """One chunk per call: LangChain merges chunks of different messages, but not chunks of one message."""
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
