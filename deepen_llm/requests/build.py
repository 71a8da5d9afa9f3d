"""What a call asks for: options checked, prompts encoded, the structure of the answer compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from deepen_llm.config import EnsembleSettings
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.options import ChatOptions, GenerationOptions
from deepen_llm.engine.sampling import generators
from deepen_llm.engine.sequence import Request, Row
from deepen_llm.engine.stops import Stops
from deepen_llm.errors import ConfigError, ContextLengthError, DeepenError
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.requests.prompts import Chatting, encode_conversation, encode_text, readable, room_after
from deepen_llm.requests.run import Run
from deepen_llm.structure import Grammar, Grammars, Guide, Room
from deepen_llm.tools import grammar as lark
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.reader import Reader
from deepen_llm.tools.short_calls import short_calls

_OF_TEMPLATES = ("chat_template_kwargs", "continue_final_message")


class Requests:
    """Makes runs of what callers ask for.

    Args:
        ensemble: The ensemble.
        settings: Its settings.
    """

    def __init__(self, ensemble: Ensemble, settings: EnsembleSettings) -> None:
        self._ensemble, self._settings = ensemble, settings
        self._standing = dict(settings.generation)

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled grammars, which are made anew where they are needed."""
        return {name: value for name, value in vars(self).items() if name != "_grammars"}

    def continuing(self, prompts: Sequence[Any], given: Mapping[str, Any], *, keep_errors: bool = False) -> Run:
        """A run over plain prompts.

        Args:
            prompts: The prompts.
            given: Fields of `GenerationOptions`.
            keep_errors: Let a prompt that cannot be used fail alone: its error stands in its place.
        """
        options = GenerationOptions(**GenerationOptions.merged(self._standing, given))
        if given.get("chat_template_kwargs"):
            raise ConfigError(
                f"chat_template_kwargs={given['chat_template_kwargs']!r} for a prompt that no chat template is put to",
                hint="give it to chat(), or leave it out",
            )
        stops = self._stops(options)
        grammar = self._grammar(options, None, stops)

        def ask(prompt: Any) -> Request:
            encoded = encode_text(self._ensemble, prompt)
            return Request(encoded, self._rows(options, encoded, stops, grammar, healing=options.token_healing))

        return self._run(ask, prompts, options, keep_errors)

    def answering(self, conversations: Sequence[Any], given: Mapping[str, Any], *, keep_errors: bool = False) -> Run:
        """A run over conversations.

        Args:
            conversations: Each a list of messages.
            given: Fields of `ChatOptions`.
            keep_errors: See `continuing`.
        """
        options = ChatOptions(**ChatOptions.merged(self._standing, given))
        toolbox, main, how = options.toolbox, self._ensemble.main, self.chatting(options, given)
        stops = self._stops(options)
        grammar = self._grammar(options, toolbox, stops)

        def ask(messages: Any) -> Request:
            encoded = encode_conversation(self._ensemble, messages, how)
            reader = partial(self._ensemble.main_model.reader, encoded[main], toolbox, structured=options.structured)
            healing = options.token_healing and how.continues(readable(messages))
            return Request(encoded, self._rows(options, encoded, stops, grammar, reader, healing=healing))

        return self._run(ask, conversations, options, keep_errors)

    def templating(self, given: Mapping[str, Any]) -> Chatting:
        """How a conversation is put through the templates where nothing is generated.

        Raises:
            ConfigError: An option is unknown, or cannot be used.
        """
        if other := next((name for name in given if name not in _OF_TEMPLATES), None):
            raise ConfigError(f"unknown option {other!r}", hint=f"known options: {', '.join(_OF_TEMPLATES)}")
        return self.chatting(ChatOptions(**given), given)

    def chatting(self, options: ChatOptions, given: Mapping[str, Any]) -> Chatting:
        """How conversations are put through the templates.

        Args:
            options: The options in force.
            given: Those of the call.

        Raises:
            ConfigError: A variable is read by no member's template.
        """
        called = options.chat_template_kwargs if "chat_template_kwargs" in given else {}
        standing = self._settings.generation.chat_template_kwargs
        how = Chatting(options.toolbox, called, standing, options.continue_final_message)
        how.check(self._ensemble.members)
        return how

    def _run(
        self, ask: Callable[[Any], Request], prompts: Sequence[Any], options: GenerationOptions, keep_errors: bool
    ) -> Run:
        def attempt(prompt: Any) -> Request | DeepenError:
            try:
                return ask(prompt)
            except DeepenError as error:
                return error

        asked = [attempt(prompt) if keep_errors else ask(prompt) for prompt in prompts]
        return Run(self._ensemble, asked, options, self._settings.batch_size)

    def _rows(
        self,
        options: GenerationOptions,
        prompt: EncodedPrompt,
        stops: Stops,
        grammar: Grammar | None,
        reader: Callable[[], Reader | None] = lambda: None,
        *,
        healing: bool,
    ) -> list[Row]:
        """One row for each sample of a prompt."""
        vocabulary, own, rows = self._ensemble.main_model.vocabulary, prompt[self._ensemble.main].ids, list[Row]()
        for generator in generators(options):
            guide = grammar.guide() if grammar else None
            if guide:
                _check_length(guide, options, room_after(self._ensemble, prompt))
            heals = healing and guide is None
            rows.append(Row(vocabulary, options, generator, guide, reader(), stops=stops, prompt=own, healing=heals))
        return rows

    def _stops(self, options: GenerationOptions) -> Stops:
        return Stops.of(options, self._ensemble.main_model.vocabulary)

    def _grammar(self, options: GenerationOptions, toolbox: Toolbox | None, stops: Stops) -> Grammar | None:
        """What the answer is held to; None for free text."""
        asked = options.response_format
        if toolbox is not None:
            main = self._ensemble.main_model
            special = {token: id_ for id_, token in main.vocabulary.spellings.items()}
            schema = asked.schema if asked else None
            grammar = lark.of_tools(main.tool_format, toolbox, special, schema, stops.special(main.vocabulary))
            return self._grammars.compile(grammar, short_calls(main.tool_format, toolbox))
        return self._grammars.compile(lark.of_schema(asked.schema)) if asked else None

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._ensemble.main_model.vocabulary)


def _check_length(guide: Guide, options: GenerationOptions, room: Room) -> None:
    """The shortest answer must fit.

    Raises:
        ConfigError: It exceeds ``max_new_tokens``.
        ContextLengthError: It exceeds a context window.
    """
    if not guide.fits(Room(options.max_new_tokens, sys.maxsize)):
        raise ConfigError(
            f"max_new_tokens={options.max_new_tokens} is too few for an answer of this structure: a short one takes "
            f"{len(guide.closing)}",
            hint="raise max_new_tokens, or ask for less",
        )
    if not guide.fits(room):
        raise ContextLengthError(
            "the prompt leaves no room in a context window for an answer of this structure: a short one takes "
            f"{len(guide.closing)} tokens",
            hint="shorten the prompt, or choose members with larger windows",
        )
