"""Builds runs from a call's arguments: checks options, encodes prompts, compiles the grammar of the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from deepen_llm.config import EnsembleSettings
from deepen_llm.engine.answer import Answer
from deepen_llm.engine.options import ChatOptions, GenerationOptions
from deepen_llm.engine.sampling import generators
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.engine.stops import Stops
from deepen_llm.errors import ConfigError, ContextLengthError, DeepenError
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.requests.prompts import TemplateOptions, encode_conversation, encode_text, readable
from deepen_llm.requests.run import Run
from deepen_llm.structure import Grammar, Grammars, Guide, TokenBudget
from deepen_llm.tools import grammar as lark
from deepen_llm.tools.definitions import Toolbox
from deepen_llm.tools.reader import Reader
from deepen_llm.tools.short_calls import short_calls

_OF_TEMPLATES = ("chat_template_kwargs", "continue_final_message")


class Requests:
    """Builds runs for prompts and for conversations.

    Args:
        engine: The engine that all calls share.
        settings: The ensemble's settings.
    """

    def __init__(self, engine: SharedEngine, settings: EnsembleSettings) -> None:
        self._engine, self._ensemble, self._settings = engine, engine.ensemble, settings
        self._defaults = dict(settings.generation)

    def __getstate__(self) -> dict[str, Any]:
        """The state without compiled grammars, which are compiled again on use."""
        return {name: value for name, value in vars(self).items() if name != "_grammars"}

    def for_prompts(self, prompts: Sequence[Any], call: Mapping[str, Any], *, keep_errors: bool = False) -> Run:
        """Build a run for plain prompts.

        Args:
            prompts: The prompts.
            call: The options of the call: fields of `GenerationOptions`.
            keep_errors: Put the error of a prompt that cannot be used in place of its request, and do not raise it.
        """
        _refuse_settings(call)
        options = GenerationOptions(**GenerationOptions.merged(self._defaults, call))
        if call.get("chat_template_kwargs"):
            raise ConfigError(
                f"chat_template_kwargs={call['chat_template_kwargs']!r} for a plain prompt, which no chat template "
                "renders",
                hint="give it to chat(), or leave it out",
            )
        stops = self._stops(options)
        grammar = self._grammar(options, None, stops)

        def request_for(prompt: Any) -> Request[Answer]:
            encoded = encode_text(self._ensemble, prompt)
            return self._request(options, encoded, stops, grammar, healing=options.token_healing)

        return self._run(request_for, prompts, keep_errors)

    def for_chats(self, conversations: Sequence[Any], call: Mapping[str, Any], *, keep_errors: bool = False) -> Run:
        """Build a run for conversations.

        Args:
            conversations: Each a list of messages.
            call: The options of the call: fields of `ChatOptions`.
            keep_errors: See `for_prompts`.
        """
        _refuse_settings(call)
        options = ChatOptions(**ChatOptions.merged(self._defaults, call))
        toolbox, main, template = options.toolbox, self._ensemble.main, self.template_options(options, call)
        stops = self._stops(options)
        grammar = self._grammar(options, toolbox, stops)

        def request_for(messages: Any) -> Request[Answer]:
            encoded = encode_conversation(self._ensemble, messages, template)
            reader = partial(self._ensemble.main_model.reader, encoded[main], toolbox, structured=options.structured)
            healing = options.token_healing and template.continues(readable(messages))
            return self._request(options, encoded, stops, grammar, reader, healing=healing)

        return self._run(request_for, conversations, keep_errors)

    def template_options_of(self, call: Mapping[str, Any]) -> TemplateOptions:
        """The template options of a call that generates nothing.

        Raises:
            ConfigError: An option is unknown, or cannot be used.
        """
        if other := next((name for name in call if name not in _OF_TEMPLATES), None):
            raise ConfigError(f"unknown option {other!r}", hint=f"known options: {', '.join(_OF_TEMPLATES)}")
        return self.template_options(ChatOptions(**call), call)

    def template_options(self, options: ChatOptions, call: Mapping[str, Any]) -> TemplateOptions:
        """The template options of a call.

        Args:
            options: All options of the call, with the ensemble's defaults.
            call: The options that the call itself sets.

        Raises:
            ConfigError: No member's template reads a variable.
        """
        variables = options.chat_template_kwargs if "chat_template_kwargs" in call else {}
        defaults = self._settings.generation.chat_template_kwargs
        template = TemplateOptions(options.toolbox, variables, defaults, options.continue_final_message)
        template.check(self._ensemble.members)
        return template

    def _run(self, request_for: Callable[[Any], Request[Answer]], prompts: Sequence[Any], keep_errors: bool) -> Run:
        def attempt(prompt: Any) -> Request[Answer] | DeepenError:
            try:
                return request_for(prompt)
            except DeepenError as error:
                return error

        requests = [attempt(prompt) if keep_errors else request_for(prompt) for prompt in prompts]
        return Run(self._engine, requests)

    def _request(
        self,
        options: GenerationOptions,
        prompt: EncodedPrompt,
        stops: Stops,
        grammar: Grammar | None,
        new_reader: Callable[[], Reader | None] = lambda: None,
        *,
        healing: bool,
    ) -> Request[Answer]:
        """A request with one answer for each sample of a prompt."""
        encoded_ids = [encoded.ids for encoded in prompt]
        prompt_ids, answers = self._ensemble.tokens_in(encoded_ids, skip_unknown=True), list[Answer]()
        for generator in generators(options):
            guide = grammar.guide() if grammar else None
            if guide:
                _check_length(guide, options, self._ensemble.tokens_left(list(map(len, encoded_ids))))
            answers.append(
                Answer(
                    self._ensemble.vocabulary,
                    options,
                    generator,
                    guide,
                    new_reader(),
                    stops=stops,
                    prompt_ids=prompt_ids,
                    healing=healing and guide is None,
                )
            )
        return Request(prompt, answers, options)

    def _stops(self, options: GenerationOptions) -> Stops:
        return Stops.of(options, self._ensemble.vocabulary)

    def _grammar(self, options: GenerationOptions, toolbox: Toolbox | None, stops: Stops) -> Grammar | None:
        """The grammar of a structured answer; None for free text."""
        response_format = options.response_format
        if toolbox is not None:
            main, vocabulary = self._ensemble.main_model, self._ensemble.vocabulary
            special = {token: id_ for id_, token in vocabulary.spellings.items()}
            schema = response_format.schema if response_format else None
            grammar = lark.of_tools(main.tool_format, toolbox, special, schema, stops.special(vocabulary))
            return self._grammars.compile(grammar, short_calls(main.tool_format, toolbox))
        return self._grammars.compile(lark.of_schema(response_format.schema)) if response_format else None

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._ensemble.vocabulary)


def _refuse_settings(call: Mapping[str, Any]) -> None:
    """Refuse options that hold for all requests of an ensemble.

    Raises:
        ConfigError: A call has one.
    """
    settings = (*EnsembleSettings.model_fields, "draft_model")
    if setting := next((name for name in call if name in settings), None):
        raise ConfigError(
            f"{setting}= is a setting of the ensemble, and cannot differ from call to call",
            hint=f"make another ensemble of the loaded members: llm.subset([0, 1], {setting}=...)",
        )


def _check_length(guide: Guide, options: GenerationOptions, budget: TokenBudget) -> None:
    """Check that the shortest answer fits.

    Raises:
        ConfigError: It exceeds ``max_new_tokens``.
        ContextLengthError: It exceeds a context window.
    """
    if not guide.fits(TokenBudget(options.max_new_tokens, sys.maxsize)):
        raise ConfigError(
            f"max_new_tokens={options.max_new_tokens} is too few for an answer of this structure: a short one takes "
            f"{len(guide.closing)}",
            hint="raise max_new_tokens, or ask for less",
        )
    if not guide.fits(budget):
        raise ContextLengthError(
            "the prompt leaves no room in a context window for an answer of this structure: a short one takes "
            f"{len(guide.closing)} tokens",
            hint="shorten the prompt, or choose members with larger windows",
        )
