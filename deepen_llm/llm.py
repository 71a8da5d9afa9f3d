"""`EnsembleLLM`: several models that generate, chat, stream and score as one.

Most lines are signatures and docstrings: each call has a synchronous and an asynchronous form, for one input and many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

from typing_extensions import Self, Unpack

from deepen_llm.config import AnySource, EnsembleConfig, EnsembleSettings, LoadingSettings, Settings
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import ConfigError, DeepenError, refuse_unknown
from deepen_llm.members.base import Member
from deepen_llm.members.local.given import AnyMember, as_member, indices_of, source_of
from deepen_llm.members.local.loading import load_members
from deepen_llm.outputs import Output, Score
from deepen_llm.requests.build import Requests
from deepen_llm.requests.counting import conversation_tokens, text_ids
from deepen_llm.requests.prompts import conversations_in, encode_conversation, prompts_in, read_by, readable
from deepen_llm.requests.run import async_stream
from deepen_llm.requests.scoring import Scoring
from deepen_llm.requests.streams import AsyncTextStream, TextStream
from deepen_llm.requests.text_model import Conversation
from deepen_llm.tools.definitions import Toolbox


class EnsembleLLM:
    """Several local language models with different vocabularies that decode as one.

    Calls may come from any number of threads and event loops at once: they are decoded together (docs/performance.md).

    Args:
        members: Members, or pairs of a `transformers` model and its tokenizer.
        draft_model: A small model of the main model's vocabulary that drafts in its place; its distributions are not
            fused. Needs ``draft_tokens`` above 0.
        settings: An `EnsembleSettings`, such as another ensemble's ``settings``, in place of the options.
        **options: The settings, which `EnsembleSettings` describes further:

            - ``main_model`` (0): Index of the member whose vocabulary tokens are chosen from.
            - ``weights`` (None: equal): Aggregation weights, one per member. Or weights that follow the input:
              ``prompt``, ``entropy``, ``track``, or a configured one, such as ``PromptWeights(tau=0.5)``.
            - ``fusion`` (``surface``): A fusion method's name, ``surface``, ``bayes`` or ``deepen``, or a configured
              one, such as ``Deepen(relr=0.15, search_steps=5)``.
            - ``gate`` (``always``): Where to fuse: ``always``, ``unsure`` (where the main model's top probability is
              low), ``boundary`` (where every member's tokens have a boundary), ``safe`` (where members do not agree),
              or a configured one, such as ``Gate(when="unsure", below=0.8)``.
            - ``eos_policy`` (``fused``): Which distribution may choose the end-of-text token: the ``fused`` one, or the
              ``main`` model's.
            - ``on_member_failure`` (``raise``): What happens to answers while a member other than the main model fails:
              they end with its error, or go on without it (``degrade``), which their ``left_out`` says.
            - ``batch_size`` (16): The most texts decoded together, of all calls; fewer where their caches would not fit
              into memory.
            - ``max_waiting`` (None: any number): The most texts that wait beside these; a call with more ends in an
              error.
            - ``draft_tokens`` (0): The most tokens that are drafted ahead, for the members to read at once.
            - ``generation``: Default `GenerationOptions`, or a mapping of them; a call's options override them.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        LoadError: A model is no causal language model.
        VocabularyError: A tokenizer does not fit its model, or the members share too few anchors.

    Example:
        >>> from deepen_llm import EnsembleLLM, specialists
        >>> llm = EnsembleLLM.from_pretrained(specialists.paths())
        >>> llm.chat([{"role": "user", "content": "What is the capital of France?"}]).text
        ' Paris'
    """

    def __init__(
        self,
        members: Sequence[AnyMember],
        *,
        draft_model: AnyMember | None = None,
        settings: EnsembleSettings | None = None,
        **options: Unpack[Settings],
    ) -> None:
        if settings is not None and options:
            raise ConfigError(f"{', '.join(options)} beside settings=", hint="give settings= or single options")
        refuse_unknown(type(self).__name__, options, ("draft_model", "settings", *EnsembleSettings.model_fields))
        self.settings = EnsembleSettings(**options) if settings is None else settings
        if not isinstance(members, Sequence):
            raise ConfigError(f"expected a list of members, got {members!r:.200}", hint="give pairs (model, tokenizer)")
        weights = self.settings.aggregation_weights(len(members))
        self.members: tuple[Member, ...] = tuple(as_member(member) for member in members)
        self.draft_model = None if draft_model is None else as_member(draft_model)
        if self.draft_model:
            self.settings.require_drafts()
            _check_draft_model(self.draft_model, self.members[self.settings.main_model])
        # A member whose weight is fixed at 0 is neither read nor fused, unless it is the main model.
        main = self.settings.main_model
        indices = [i for i in range(len(self.members)) if i == main or weights.may_have_weight(i)]
        taking_part = [self.members[i] for i in indices]
        self._ensemble = Ensemble(
            members=taking_part,
            main=indices.index(main),
            fusion=self.settings.fusion.prepare(taking_part, indices.index(main)),
            weights=weights.subset(indices),
            eos_policy=self.settings.eos_policy,
            draft_tokens=self.settings.draft_tokens,
            draft_model=self.draft_model,
            gate=self.settings.gate,
            on_member_failure=self.settings.on_member_failure,
        )
        self._engine = SharedEngine(self._ensemble, self.settings.batch_size, self.settings.max_waiting)
        self._requests = Requests(self._engine, self.settings)

    def __repr__(self) -> str:
        """The members' names, the main model and the fusion method."""
        names = ", ".join(member.name for member in self.members)
        return f"EnsembleLLM([{names}], main_model={self.settings.main_model}, fusion={self.settings.fusion!r})"

    @classmethod
    def from_pretrained(cls, members: AnySource | Sequence[AnySource], **options: Unpack[LoadingSettings]) -> Self:
        """Load the members and make an ensemble of them.

        Args:
            members: Hub ids, local folders or `MemberConfig`; or one configuration file (``.yaml``), without
                options.
            **options: Settings, as the class takes them; ``draft_model``, given as a member is; and how members given
                by path alone are loaded, which `MemberConfig` describes further:

                - ``dtype`` (``auto``): ``auto`` or a torch dtype.
                - ``device`` (``auto``): ``auto`` (the GPUs with most free memory), a torch device for all members, or a
                  list with one for each.
                - ``device_map``: Accelerate's ``device_map``, in place of ``device``.
                - ``quantization``: ``bnb-int8``, ``bnb-nf4`` or ``torchao-int8``.
                - ``compile`` (False): Compile one-token steps.
                - ``trust_remote_code`` (False): Run code that comes with the checkpoints.
                - ``safetensors_only`` (True): Refuse weights in other formats.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.

        Warns:
            UserWarning: A member with ``device="auto"`` fits on no GPUs and goes to the CPU.
        """
        if not (isinstance(members, str | Path) and str(members).endswith((".yaml", ".yml"))):
            return cls.from_config(EnsembleConfig.of(members, **options))
        if any(value is not None for value in options.values()):
            raise ConfigError(
                f"options beside the configuration {members}, which holds all of them: {', '.join(options)}",
                hint="set them in the file, or load the members' folders with these options",
            )
        return cls.from_config(members)

    @classmethod
    def from_config(cls, config: str | Path | EnsembleConfig) -> Self:
        """Load an ensemble from a configuration or its YAML file.

        Raises:
            ConfigError: The file cannot be read or a setting cannot be used.
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.
        """
        if not isinstance(config, EnsembleConfig):
            config = EnsembleConfig.load(config)
        config.aggregation_weights(len(config.members))
        loaded = load_members(config.sources)
        draft_model = loaded[-1] if config.draft_model else None
        return cls(loaded[: len(config.members)], draft_model=draft_model, settings=config.settings)

    @property
    def config(self) -> EnsembleConfig:
        """The configuration from which `from_config` loads this ensemble.

        It holds a fusion method of your own class as an object, which a file cannot hold (see `save_config`).

        Raises:
            ConfigError: A member is in memory only, or the aggregation weights are of your own class.
        """
        self.settings.require_named_weights()
        return EnsembleConfig(
            members=[source_of(member) for member in self.members],
            draft_model=source_of(self.draft_model) if self.draft_model else None,
            **dict(self.settings),
        )

    def save_config(self, file: str | Path) -> None:
        """Write the YAML file that `from_config` loads.

        Raises:
            ConfigError: See `config`; the fusion method or the gate is of a class of your own; or the file cannot be
                written.
        """
        self.config.save(file)

    @property
    def ensemble(self) -> Ensemble:
        """The members that take part, their fusion, weights and gate, as the engine uses them."""
        return self._ensemble

    @property
    def main_model(self) -> Member:
        """The member whose vocabulary tokens are chosen from."""
        return self._ensemble.main_model

    @property
    def context_window(self) -> int | None:
        """Tokens that fit into the smallest context window of the members; None where none has a bound."""
        return min((length for member in self._ensemble.members if (length := member.context_length)), default=None)

    def subset(self, members: Sequence[int | str], **options: Unpack[Settings]) -> Self:
        """An ensemble of some of the members, which shares the models with this one.

        The main model stays the same if it is in the subset, else the first member of the subset becomes the main
        model. Aggregation weights keep their proportions, and the draft model is kept if it has the main model's
        vocabulary.

        Args:
            members: The members' names or indices, in their new order.
            **options: Settings of the subset that differ, as the class takes them.

        Raises:
            ConfigError: No member has such a name or index, one is named twice, or a setting cannot be used.
        """
        indices = indices_of(members, self.members)
        if indices == list(range(len(self.members))) and not options:
            return self
        chosen = [self.members[i] for i in indices]
        same = self.settings.model_copy(update={"weights": None}) if "weights" in options else self.settings
        settings = same.among(indices).model_copy(update={"generation": read_by(same.generation, chosen)})
        if options:
            settings = EnsembleSettings(**{**dict(settings), **options})
        fits = (
            self.draft_model is not None
            and 0 <= settings.main_model < len(chosen)
            and _fits(self.draft_model, chosen[settings.main_model])
        )
        return type(self)(chosen, draft_model=self.draft_model if fits else None, settings=settings)

    @overload
    def generate(self, prompt: str, **options: Any) -> Output: ...
    @overload
    def generate(
        self, prompt: Sequence[str], *, return_exceptions: Literal[False] = False, **options: Any
    ) -> list[Output]: ...
    @overload
    def generate(
        self, prompt: Sequence[str], *, return_exceptions: bool, **options: Any
    ) -> list[Output | DeepenError]: ...
    def generate(self, prompt: str | Sequence[str], *, return_exceptions: bool = False, **options: Any) -> Any:
        """Continue a prompt, or each of several.

        Args:
            prompt: One prompt or a list of them.
            return_exceptions: Of several prompts, return the error of one that cannot be used in place of its output.
            **options: Fields of `GenerationOptions`.

        Returns:
            One `Output` per prompt; a list for a list.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: A prompt is empty, or leaves no room in a context window.
            LogitsError: A member's logits are no distribution.
        """
        prompts, many = prompts_in(prompt)
        run = self._requests.for_prompts(prompts, options, keep_errors=return_exceptions and many)
        return run.finish() if many else run.finish()[0]

    @overload
    def chat(self, messages: Conversation, **options: Any) -> Output: ...
    @overload
    def chat(
        self, messages: Sequence[Conversation], *, return_exceptions: Literal[False] = False, **options: Any
    ) -> list[Output]: ...
    @overload
    def chat(
        self, messages: Sequence[Conversation], *, return_exceptions: bool, **options: Any
    ) -> list[Output | DeepenError]: ...
    def chat(
        self, messages: Conversation | Sequence[Conversation], *, return_exceptions: bool = False, **options: Any
    ) -> Any:
        """Answer a conversation, or each of several, through each member's own chat template.

        Args:
            messages: One list of messages (``role``, ``content``), or a list of such lists.
            return_exceptions: As in `generate`.
            **options: Fields of `ChatOptions`: those of `generate`, and ``tools``, ``tool_choice``,
                ``parallel_tool_calls``, ``continue_final_message``.

        Returns:
            One `Output` per conversation; a list for a list of lists.

        Raises:
            PromptError: There are no messages, a member has no template, or its template refuses them.
            ConfigError: An option is unknown or cannot be used, or a tool cannot be used.
            LogitsError: A member's logits are no distribution.
        """
        conversations, many = conversations_in(messages)
        run = self._requests.for_chats(conversations, options, keep_errors=return_exceptions and many)
        return run.finish() if many else run.finish()[0]

    def stream(self, prompt: str, **options: Any) -> TextStream:
        """Continue a prompt piece by piece: whole characters, and never part of a stop string.

        The models run only while the stream is read, or while another call is decoded with it; its ``output`` is None
        until it has ended.

        Args:
            prompt: The prompt.
            **options: Fields of `GenerationOptions`; ``n`` must be 1.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: The prompt is empty, or leaves no room in a context window.
        """
        return self._requests.for_prompts([prompt], options).stream()

    def stream_chat(self, messages: Conversation, **options: Any) -> TextStream:
        """Answer a conversation piece by piece; pieces hold text, tool calls and reasoning."""
        return self._requests.for_chats([messages], options).stream()

    @overload
    async def agenerate(self, prompt: str, **options: Any) -> Output: ...
    @overload
    async def agenerate(
        self, prompt: Sequence[str], *, return_exceptions: Literal[False] = False, **options: Any
    ) -> list[Output]: ...
    @overload
    async def agenerate(
        self, prompt: Sequence[str], *, return_exceptions: bool, **options: Any
    ) -> list[Output | DeepenError]: ...
    async def agenerate(self, prompt: str | Sequence[str], *, return_exceptions: bool = False, **options: Any) -> Any:
        """The asynchronous `generate`: it runs in a thread, and cancelling it stops the models."""
        prompts, many = prompts_in(prompt)
        build = partial(self._requests.for_prompts, keep_errors=return_exceptions and many)
        outputs = await (await asyncio.to_thread(build, prompts, options)).async_finish()
        return outputs if many else outputs[0]

    @overload
    async def achat(self, messages: Conversation, **options: Any) -> Output: ...
    @overload
    async def achat(
        self, messages: Sequence[Conversation], *, return_exceptions: Literal[False] = False, **options: Any
    ) -> list[Output]: ...
    @overload
    async def achat(
        self, messages: Sequence[Conversation], *, return_exceptions: bool, **options: Any
    ) -> list[Output | DeepenError]: ...
    async def achat(
        self, messages: Conversation | Sequence[Conversation], *, return_exceptions: bool = False, **options: Any
    ) -> Any:
        """The asynchronous `chat`: it runs in a thread, and cancelling it stops the models."""
        conversations, many = conversations_in(messages)
        build = partial(self._requests.for_chats, keep_errors=return_exceptions and many)
        outputs = await (await asyncio.to_thread(build, conversations, options)).async_finish()
        return outputs if many else outputs[0]

    def astream(self, prompt: str, **options: Any) -> AsyncTextStream:
        """The asynchronous `stream`: it runs in a thread, and cancelling it stops the models."""
        return async_stream(partial(self._requests.for_prompts, [prompt], options))

    def astream_chat(self, messages: Conversation, **options: Any) -> AsyncTextStream:
        """The asynchronous `stream_chat`: it runs in a thread, and cancelling it stops the models."""
        return async_stream(partial(self._requests.for_chats, [messages], options))

    @overload
    def score(self, prompt: str, continuation: str) -> Score: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> list[Score]: ...
    def score(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> Score | list[Score]:
        """The ensemble's log-probability of each main-model token of a continuation, or of each of several.

        Up to ``batch_size`` continuations are read together. A prompt is read once for all its continuations, so give
        the choices of a question together: ``score(question, [" Paris", " Rome"])``.

        Args:
            prompt: The prompt, or one for each continuation.
            continuation: The text that follows it, or one for each prompt; it is encoded as the main model's tokenizer
                encodes it after the prompt.

        Returns:
            One `Score`; a list where either is a list.

        Raises:
            PromptError: A prompt or a continuation is empty, they leave no room in a context window, or there are not
                as many of one as of the other.
        """
        scores = Scoring.of_texts(self._engine, prompt, continuation).finish()
        return scores[0] if isinstance(prompt, str) and isinstance(continuation, str) else scores

    @overload
    async def ascore(self, prompt: str, continuation: str) -> Score: ...  # type: ignore[overload-overlap]
    @overload
    async def ascore(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> list[Score]: ...
    async def ascore(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> Score | list[Score]:
        """The asynchronous `score`: it runs in a thread, and cancelling it stops the models."""
        scoring = await asyncio.to_thread(Scoring.of_texts, self._engine, prompt, continuation)
        scores = await scoring.async_finish()
        return scores[0] if isinstance(prompt, str) and isinstance(continuation, str) else scores

    @overload
    def score_chat(self, messages: Conversation, continuation: str, **options: Any) -> Score: ...
    @overload
    def score_chat(self, messages: Conversation, continuation: Sequence[str], **options: Any) -> list[Score]: ...
    def score_chat(
        self, messages: Conversation, continuation: str | Sequence[str], **options: Any
    ) -> Score | list[Score]:
        """The ensemble's log-probability of an answer to a conversation, or of each of several answers; see `score`.

        Many models begin an answer with a space, which is then part of the answer and not of the template.

        Args:
            messages: The conversation.
            continuation: The answer, or several.
            **options: ``chat_template_kwargs`` and ``continue_final_message``, as `chat` takes them.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: See `chat` and `score`.
        """
        answers, many = prompts_in(continuation)
        encoded = encode_conversation(self._ensemble, messages, self._requests.template_options_of(options))
        scores = Scoring(self._engine, [encoded] * len(answers), answers).finish()
        return scores if many else scores[0]

    def token_ids(self, text: str) -> list[int]:
        """The main model's token ids of a text, without special tokens before and after it."""
        return text_ids(self.main_model, text)

    def count_tokens(self, messages: Conversation, *, tools: Sequence[Any] | None = None, **options: Any) -> int:
        """Count the main model's tokens of a conversation, or of a part of one, as its chat template renders it.

        Messages that the template refuses together are counted one by one.

        Args:
            messages: The conversation, or a part of it; an empty list has 0 tokens.
            tools: The tools that the model may call, as `chat` takes them.
            **options: ``chat_template_kwargs`` and ``continue_final_message``, as `chat` takes them.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: A message has content that is not text.
        """
        template = replace(self._requests.template_options_of(options), toolbox=Toolbox.of(tools))
        return conversation_tokens(self.main_model, messages, template)

    def render(self, messages: Conversation, **options: Any) -> str:
        """Render a conversation with the main model's chat template, up to the beginning of the next answer.

        Args:
            messages: The conversation.
            **options: ``chat_template_kwargs`` and ``continue_final_message``, as `chat` takes them.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: The main model has no template, or its template refuses the messages.
        """
        template, normalized = self._requests.template_options_of(options), readable(messages)
        return self.main_model.render(normalized, **template.arguments(self.main_model, normalized))


def _check_draft_model(draft_model: Member, main: Member) -> None:
    if not _fits(draft_model, main):
        raise ConfigError(
            f"draft_model {draft_model.name} has another vocabulary than the main model {main.name}",
            hint="give a model with the main model's own tokenizer, or none: the main model drafts itself",
        )


def _fits(draft_model: Member, main: Member) -> bool:
    return draft_model.vocabulary.fingerprint == main.vocabulary.fingerprint
