"""Variables that a user hands to chat templates, such as ``enable_thinking``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, JsonValue

_RESERVED = {  # what rendering sets itself, and what sets it otherwise
    "messages": "the messages are the call's own argument",
    "conversation": "the messages are the call's own argument",
    "tools": "give tools= to the call",
    "add_generation_prompt": "an answer is always begun, but with continue_final_message=True",
    "continue_final_message": "give continue_final_message= to the call",
    "chat_template": "set tokenizer.chat_template of the member",
    "tokenize": "it is always both",
    "return_dict": "it is never needed",
    "return_tensors": "it is never needed",
    "return_assistant_tokens_mask": "it is never needed",
    "sanitize_control_tokens": "special tokens in messages always stay plain text",
    "padding": "prompts are never padded",
    "truncation": "prompts are never cut",
    "max_length": "prompts are never cut",
    "tokenizer_kwargs": "it is never needed",
}


def _free(given: dict[str, JsonValue]) -> dict[str, JsonValue]:
    taken = next((name for name in given if name in _RESERVED), None)
    if taken is not None:
        raise ValueError(f"{taken!r} is no variable of a chat template's own: {_RESERVED[taken]}")
    return given


def _or_none(given: Any) -> Any:
    return {} if given is None else given


TemplateVariables = Annotated[dict[str, JsonValue], BeforeValidator(_or_none), AfterValidator(_free)]
"""Variables by name, as JSON; those that rendering sets itself are refused."""
