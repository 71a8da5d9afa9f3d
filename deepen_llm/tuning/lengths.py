"""Check of example lengths by tokenizing, before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.errors import ContextLengthError, DatasetError, PromptError
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.base import Member
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.requests.prompts import TemplateOptions, encode_continuation, encode_conversation, encode_text
from deepen_llm.tuning.dataset import Example, Examples

_SHOWN = 10  # positions named in a message


def check_lengths(
    members: Sequence[Member],
    examples: Examples,
    *,
    variables: Mapping[str, Any] | None = None,
    skip_too_long: bool = False,
) -> Examples:
    """Check that the prompt and a right answer, or the prompt and each choice, fit every member's context window.

    Args:
        members: All members.
        examples: The examples.
        variables: The ensemble's variables for the chat templates, which change the length of a conversation.
        skip_too_long: Whether to leave out examples that are too long for a member, instead of raising.

    Returns:
        The examples that fit; ``left_out`` lists the positions of the others.

    Raises:
        DatasetError: An example is too long for a member's context window, or all are; or a member cannot encode an
            example of any length.
        ConfigError: No member's chat template reads a variable.
    """
    single = [EnsembleLLM([member]).ensemble for member in members]
    how = TemplateOptions(defaults=variables or {})
    if any(example.messages for example in examples):
        how.check(members)
    reasons = [
        _reason_at(f"{examples.name}, {position}", example, single, how)
        for position, example in zip(examples.positions, examples, strict=True)
    ]
    too_long = {position: reason for position, reason in zip(examples.positions, reasons, strict=True) if reason}
    if not too_long:
        return examples
    if skip_too_long and len(too_long) < len(examples):
        return examples.without(too_long)
    position, reason = next(iter(too_long.items()))
    more = [other for other in too_long if other != position]
    others = f"; {len(more)} more are too long: {', '.join(more[:_SHOWN])}" if more else ""
    raise DatasetError(
        f"{examples.name}, {position} is too long: {reason}{others}{', ...' if len(more) > _SHOWN else ''}",
        hint="shorten them, choose members with larger windows, or tune without them: --skip-too-long, in Python "
        "skip_too_long=True",
    )


def _reason_at(position: str, example: Example, single: Sequence[Ensemble], how: TemplateOptions) -> str:
    """The reason why an example is too long for any member; empty if it fits."""
    try:
        return next((reason for ensemble in single if (reason := _reason(ensemble, example, how))), "")
    except PromptError as error:
        raise DatasetError(f"{position}: {error.message}", hint=error.hint) from error


def _reason(ensemble: Ensemble, example: Example, how: TemplateOptions) -> str:
    """The reason why an example is too long for a member; empty if it fits."""
    try:
        prompt = (
            encode_conversation(ensemble, example.messages, how)
            if example.messages
            else encode_text(ensemble, example.prompt)
        )
        reasons = [_too_long_after(ensemble, prompt, text) for text in example.choices or example.references]
    except ContextLengthError as error:
        return error.message
    return next(filter(None, reasons), "") if example.choices or all(reasons) else ""


def _too_long_after(ensemble: Ensemble, prompt: EncodedPrompt, text: str) -> str:
    """The reason why a text does not fit after a prompt; empty if it does."""
    window, tokens = ensemble.main_model.context_length, len(prompt[0].ids)
    if not window or tokens + len(text.encode()) <= window:  # a token has at least one byte
        return ""
    try:
        encode_continuation(ensemble, prompt, text)
    except ContextLengthError as error:
        return error.message
    return ""
