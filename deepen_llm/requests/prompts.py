"""Encodes prompts and conversations for each member, and checks them before any model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.text import TextAssembler
from deepen_llm.errors import ConfigError, ContextLengthError, PromptError, suggestion
from deepen_llm.members.base import Member, Message
from deepen_llm.members.text.encoding import EncodedPrompt, Prompt
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.history import IndexedMessage, conversation, named


@dataclass(frozen=True)
class TemplateOptions:
    """Options with which the members' chat templates render a conversation.

    Attributes:
        toolbox: The tools that the model may call.
        variables: Variables for the templates, which replace a member's own.
        defaults: Variables for where neither the call nor the member sets them.
        continue_final_message: Continue the last message, an assistant's, instead of beginning a new one.
    """

    toolbox: Toolbox | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    continue_final_message: bool = False

    def arguments(self, member: Member, messages: Sequence[Message]) -> dict[str, Any]:
        """Keyword arguments of `Member.encode_chat` and `Member.render` for messages that `readable` returned."""
        arguments: dict[str, Any] = {
            "tools": self.toolbox.tools if self.toolbox else (),
            "variables": {**self.defaults, **member.chat_template_kwargs, **self.variables},
            "continue_final_message": self.continues(messages),
        }
        return {name: value for name, value in arguments.items() if value}

    def continues(self, messages: Sequence[Message]) -> bool:
        """Whether the last message is continued: by the option, or by its own ``prefix``, as in Mistral's API."""
        return self.continue_final_message or bool(messages and messages[-1].get("prefix"))

    def check(self, members: Iterable[Member]) -> None:
        """Check that every variable is read by a template.

        Raises:
            ConfigError: No member's template has a variable of this name, or not the member's that sets it.
        """
        all_members = list(members)
        for name in {**self.defaults, **self.variables}:
            if not any(member.reads_variable(name) for member in all_members):
                raise _unread(name, "no member's chat template reads")
        for member in all_members:
            for name in member.chat_template_kwargs:
                if not member.reads_variable(name):
                    raise _unread(name, f"the chat template of member {member.name} does not read")


def prompts_in(prompt: str | Sequence[str]) -> tuple[Sequence[str], bool]:
    """One prompt or several as a list, and whether there were several.

    A value of another type counts as one prompt, which `encode_text` refuses.
    """
    many = isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes)
    return (prompt, True) if many else ([prompt], False)  # type: ignore[list-item]


def conversations_in(messages: Any) -> tuple[Sequence[Any], bool]:
    """One conversation or several as a list, and whether there were several; an empty list is one conversation."""
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
    many = is_list and bool(messages) and not isinstance(messages[0], Mapping)
    return (messages, True) if many else ([messages], False)


def read_by(generation: GenerationOptions, members: Iterable[Member]) -> GenerationOptions:
    """An ensemble's default options for some of its members: without template variables that none of these reads."""
    some = list(members)
    variables = {
        name: value
        for name, value in generation.chat_template_kwargs.items()
        if any(member.reads_variable(name) for member in some)
    }
    return generation.model_copy(update={"chat_template_kwargs": variables})


def _unread(name: str, reader: str) -> ConfigError:
    others = [known for known in _VARIABLES if known != name]
    return ConfigError(
        f"{reader} a variable {name!r} of chat_template_kwargs{suggestion(name, others, cutoff=0.7)}",
        hint="leave it out, or give a name that a member's tokenizer.chat_template has",
    )


_VARIABLES = ("enable_thinking", "thinking", "reasoning_effort", "documents", "date_string", "custom_tools")


def encode_text(ensemble: Ensemble, text: str) -> EncodedPrompt:
    """Encode a plain prompt for every member.

    Raises:
        PromptError: It is no text, or empty.
        ContextLengthError: It leaves no room in a member's context window.
    """
    if not isinstance(text, str):
        raise PromptError(
            f"expected a prompt that is a string, got one of type {type(text).__name__}",
            hint="give a string, or a list of strings",
        )
    if not text:
        raise PromptError("the prompt is empty", hint="give at least one character; models continue a text")
    _check_text(text)
    return _encode(ensemble, lambda member: member.encode_prompt(text))


def encode_conversation(ensemble: Ensemble, messages: Sequence[Message], template: TemplateOptions) -> EncodedPrompt:
    """Encode a conversation for every member, through its own chat template.

    Args:
        ensemble: The ensemble.
        messages: The messages.
        template: The tools that the model may call, and the variables of the templates.

    Raises:
        PromptError: There are no messages, one is malformed, or a member's template is missing or refuses them.
        ContextLengthError: They leave no room in a member's context window.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise PromptError(
            f"{messages!r} is no conversation", hint="give a list like [{'role': 'user', 'content': 'Hello'}]"
        )
    normalized = readable(messages)
    if template.continues(normalized):
        _check_can_continue(normalized)
    return _encode(ensemble, lambda member: member.encode_chat(normalized, **template.arguments(member, normalized)))


def readable(messages: Sequence[Message]) -> Sequence[IndexedMessage]:
    """Messages of any provider in the form that members take.

    Raises:
        PromptError: One is no message, or its content is not text, or none has any content but reasoning.
    """
    normalized = conversation(messages)
    for message in normalized:
        _check_text(message["content"])
    if messages and not normalized:
        raise PromptError("the messages hold nothing but reasoning", hint="give at least one with other content")
    return normalized


def _check_can_continue(messages: Sequence[IndexedMessage]) -> None:
    last = messages[-1]
    if last["role"] != "assistant" or last.get("tool_calls"):
        calls = ", and calls a tool" if last.get("tool_calls") else ""
        raise PromptError(
            f"{named(last.index, last)} cannot be continued: it is the last one{calls}",
            hint="end with an assistant's text, or leave continue_final_message out",
        )


def encode_continuation(ensemble: Ensemble, prompt: EncodedPrompt, text: str) -> list[int]:
    """The token ids of a text that follows a prompt, in the ensemble's vocabulary.

    Raises:
        PromptError: It is no text, or empty.
        ContextLengthError: Prompt and text together exceed a member's context window.
    """
    if not isinstance(text, str):
        raise PromptError(f"a continuation of type {type(text).__name__}", hint="give a string, or a list of strings")
    if not text:
        raise PromptError("the continuation is empty", hint="give the text whose likelihood you want")
    _check_text(text)
    continued = [
        member.encode_continuation(encoded, text) for member, encoded in zip(ensemble.members, prompt, strict=True)
    ]
    for member, encoded, ids in zip(ensemble.members, prompt, continued, strict=True):
        _check_length(member, len(encoded.ids) + len(ids), "prompt and continuation")
    tokens = ensemble.tokens_in(continued)
    _check_parts(ensemble, prompt, continued, tokens)
    return tokens


def _check_parts(
    ensemble: Ensemble, prompt: EncodedPrompt, continued: Sequence[Sequence[int]], tokens: Sequence[int]
) -> None:
    """Check that the parts of a continuation fit: behind each of its tokens, every member reads what is before it.

    A text that ends inside a word may take more tokens than the whole. Only the last parts can be too long, since each
    of a token's bytes takes at most one.

    Raises:
        ContextLengthError: See `encode_continuation`.
    """
    size = sum(len(ensemble.vocabulary.surfaces[token] or b"") for token in tokens)
    for member, encoded, ids in zip(ensemble.members, prompt, continued, strict=True):
        window = member.context_length
        if not window or len(encoded.ids) + len(ids) + size <= window or list(ids) == list(tokens):
            continue
        longest = max(map(len, member.vocabulary.ids), default=0)
        for count in range(len(tokens) - 1, 0, -1):
            surfaces = (ensemble.vocabulary.surfaces[token] or b"" for token in tokens[:count])
            part = TextAssembler().feed(b"".join(surfaces))
            length = len(encoded.ids) + (len(member.encode_continuation(encoded, part)) if part else 0)
            _check_length(member, length, "prompt and a part of the continuation")
            if length + longest <= window:
                break


def _check_length(member: Member, length: int, text: str) -> None:
    if member.context_length and length > member.context_length:
        raise ContextLengthError(
            f"{text} take {length} tokens in member {member.name}, whose context window holds {member.context_length}",
            hint="shorten either, or choose members with larger windows",
        )


def paired(prompt: str | Sequence[str], continuation: str | Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Prompts and continuations, as many of one as of the other; a single one of either goes with all of the other.

    Raises:
        PromptError: There are two lists of different lengths.
    """
    prompts, many_prompts = prompts_in(prompt)
    continuations, many_continuations = prompts_in(continuation)
    if not many_prompts:
        return [prompts[0]] * len(continuations), continuations
    if not many_continuations:
        return prompts, [continuations[0]] * len(prompts)
    if len(prompts) != len(continuations):
        raise PromptError(
            f"expected as many continuations as prompts, got {len(prompts)} prompts and {len(continuations)} "
            "continuations",
            hint="give one continuation per prompt, or a single one of either",
        )
    return prompts, continuations


def _encode(ensemble: Ensemble, encode: Callable[[Member], Prompt]) -> EncodedPrompt:
    encoded = [encode(member) for member in ensemble.members]
    for member, prompt in zip(ensemble.members, encoded, strict=True):
        if not prompt.ids:
            raise PromptError(f"the prompt has no token for member {member.name}", hint="give a longer prompt")
    _check_room(ensemble, encoded)
    return encoded


def _check_room(ensemble: Ensemble, encoded: EncodedPrompt) -> None:
    """Every member needs room for the prompt and at least one token; the error names the one with the least."""
    left = [
        (member.context_length - len(prompt.ids), member, len(prompt.ids))
        for member, prompt in zip(ensemble.members, encoded, strict=True)
        if member.context_length
    ]
    tokens_left, member, length = min(left, key=lambda of_member: of_member[0], default=(1, ensemble.main_model, 0))
    if tokens_left < 1:
        raise ContextLengthError(
            f"the prompt takes {length} tokens in member {member.name}, whose context window holds "
            f"{member.context_length}: no room for an answer",
            hint=f"shorten the prompt by at least {1 - tokens_left} tokens, or choose members with larger windows",
        )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the prompt has a lone surrogate at character {error.start}",
            hint="decode it with errors='replace'",
        ) from None
