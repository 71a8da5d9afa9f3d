"""Whether every member can read every example, found out by tokenizing before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.errors import ContextLengthError, DatasetError, PromptError
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.requests.prompts import Chatting, encode_continuation, encode_conversation, encode_text
from deepen_llm.tuning.dataset import Example, Examples

_SHOWN = 10  # places named in a message


def check_lengths(
    members: Sequence[Member],
    examples: Examples,
    *,
    variables: Mapping[str, Any] | None = None,
    skip_too_long: bool = False,
) -> Examples:
    """The examples that every member can read: the prompt and any right answer, or the prompt and each choice.

    Args:
        members: All members.
        examples: The examples.
        variables: The ensemble's variables for the chat templates, which lengthen or shorten a conversation.
        skip_too_long: Leave out those that are too long for a member, rather than to refuse them.

    Returns:
        The examples, without those left out; ``left_out`` of them tells which.

    Raises:
        DatasetError: An example is too long for a member's context window, or none are left that are not; or a member
            cannot read an example at all, whatever its length.
        ConfigError: No member's chat template reads a variable.
    """
    alone, how = [EnsembleLLM([member]).ensemble for member in members], Chatting(standing=variables or {})
    if any(example.messages for example in examples):
        how.check(members)
    reasons = [
        _reason_at(f"{examples.name}, {place}", example, alone, how)
        for place, example in zip(examples.places, examples, strict=True)
    ]
    found = {place: reason for place, reason in zip(examples.places, reasons, strict=True) if reason}
    if not found:
        return examples
    if skip_too_long and len(found) < len(examples):
        return examples.without(found)
    place, reason = next(iter(found.items()))
    more = [other for other in found if other != place]
    others = f"; {len(more)} more are too long: {', '.join(more[:_SHOWN])}" if more else ""
    raise DatasetError(
        f"{examples.name}, {place} is too long: {reason}{others}{', ...' if len(more) > _SHOWN else ''}",
        hint="shorten them, choose members with larger windows, or tune without them: --skip-too-long, in Python "
        "skip_too_long=True",
    )


def _reason_at(place: str, example: Example, alone: Sequence[Ensemble], how: Chatting) -> str:
    """Why an example is too long for any member; "" where it is not."""
    try:
        return next((reason for one in alone if (reason := _reason(one, example, how))), "")
    except PromptError as error:
        raise DatasetError(f"{place}: {error.message}", hint=error.hint) from error


def _reason(alone: Ensemble, example: Example, how: Chatting) -> str:
    """Why an example is too long for a member; "" where it is not."""
    try:
        prompt = (
            encode_conversation(alone, example.messages, how)
            if example.messages
            else encode_text(alone, example.prompt)
        )
        reasons = [_behind(alone, prompt, text) for text in example.choices or example.references]
    except ContextLengthError as error:
        return error.message
    some, every = next(filter(None, reasons), ""), all(reasons)
    return some if example.choices or every else ""


def _behind(alone: Ensemble, prompt: EncodedPrompt, text: str) -> str:
    """Why a text does not fit behind a prompt; "" where it does."""
    window, tokens = alone.main_model.context_length, len(prompt[0].ids)
    if not window or tokens + len(text.encode()) <= window:  # a token is a byte at least
        return ""
    try:
        encode_continuation(alone, prompt, text)
    except ContextLengthError as error:
        return error.message
    return ""
