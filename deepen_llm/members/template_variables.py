"""Variables that a user sets for chat templates, such as ``enable_thinking``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, JsonValue

_RESERVED = {  # arguments that rendering sets itself, with the reason or the option that sets them
    "messages": "the messages are the call's own argument",
    "conversation": "the messages are the call's own argument",
    "tools": "give tools= to the call",
    "add_generation_prompt": "it is True, except with continue_final_message=True",
    "continue_final_message": "give continue_final_message= to the call",
    "chat_template": "set tokenizer.chat_template of the member",
    "tokenize": "text and tokens are always rendered",
    "return_dict": "it is never needed",
    "return_tensors": "it is never needed",
    "return_assistant_tokens_mask": "it is never needed",
    "sanitize_control_tokens": "special tokens in messages always stay plain text",
    "padding": "prompts are never padded",
    "truncation": "prompts are never cut",
    "max_length": "prompts are never cut",
    "tokenizer_kwargs": "it is never needed",
}


def _not_reserved(variables: dict[str, JsonValue]) -> dict[str, JsonValue]:
    reserved = next((name for name in variables if name in _RESERVED), None)
    if reserved is not None:
        raise ValueError(f"{reserved!r} is no variable of a chat template's own: {_RESERVED[reserved]}")
    return variables


def _empty_for_none(variables: Any) -> Any:
    return {} if variables is None else variables


TemplateVariables = Annotated[dict[str, JsonValue], BeforeValidator(_empty_for_none), AfterValidator(_not_reserved)]
"""Variables by name, as JSON; those that rendering sets itself are refused."""
