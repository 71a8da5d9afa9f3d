"""Token counts by the main model's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepen_llm.ensemble import EnsembleLLM
from deepen_llm.members.encoding import TOKENIZER_LOCK
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.messages import normalised


def text_ids(ensemble: EnsembleLLM, text: str) -> list[int]:
    """The main model's tokens of a text, without special tokens around it."""
    main = ensemble.main_model
    tokenizer = getattr(main, "tokenizer", None)
    if tokenizer is None:  # members of other kinds need not have one
        return list(main.encode_prompt(text).ids)
    with TOKENIZER_LOCK:
        return list(tokenizer.encode(text, add_special_tokens=False))


def conversation_ids(ensemble: EnsembleLLM, messages: Sequence[Any], tools: Sequence[Any] | None) -> list[int]:
    """The main model's tokens of a conversation, all that its template writes included.

    Raises:
        PromptError: The template refuses the messages.
    """
    main = ensemble.main_model
    toolbox = Toolbox.of(tools)
    said = [normalised(message) for message in messages]
    return list(main.encode_chat(said, toolbox.tools if toolbox else ()).ids)
