"""Token counts by the main model's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepen_llm.errors import PromptError
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.text.encoding import TOKENIZER_LOCK
from deepen_llm.requests.prompts import Chatting, readable
from deepen_llm.tools.definitions import Toolbox


def text_ids(ensemble: EnsembleLLM, text: str) -> list[int]:
    """The main model's tokens of a text, without special tokens around it."""
    main = ensemble.main_model
    tokenizer = getattr(main, "tokenizer", None)
    if tokenizer is None:  # members of other kinds need not have one
        return list(main.encode_prompt(text).ids)
    with TOKENIZER_LOCK:
        return list(tokenizer.encode(text, add_special_tokens=False))


def conversation_tokens(
    ensemble: EnsembleLLM, messages: Sequence[Any], tools: Sequence[Any] | None, variables: Mapping[str, Any]
) -> int:
    """How many tokens a conversation takes in the main model, all that its template writes included.

    Parts of conversations are counted too, backwards or cut anywhere, as `trim_messages` gives them: where the template
    refuses them together, each message counts for itself, and as its text alone where the template refuses that too. A
    list that begins with an AI message takes a few tokens more where the template wants the user first.

    Args:
        ensemble: The ensemble.
        messages: The messages, in the form that the core takes; none take no token.
        tools: The tools that the model may call.
        variables: Variables that the call gives to the chat template.

    Raises:
        PromptError: A message says what is not text.
    """
    main, toolbox, said = ensemble.main_model, Toolbox.of(tools), readable(messages)
    how = Chatting(toolbox, variables, ensemble.settings.generation.chat_template_kwargs)
    if not said:
        return 0
    try:
        return len(main.encode_chat(said, **how.arguments(main, said)).ids)
    except PromptError:
        if len(said) > 1:
            rest = [conversation_tokens(ensemble, [one], None, variables) for one in said[1:]]
            return conversation_tokens(ensemble, said[:1], tools, variables) + sum(rest)
        return len(text_ids(ensemble, said[0]["content"]))
