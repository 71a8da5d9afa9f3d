"""The front door: several models, one `EnsembleLLM`.

Long for its signatures: each call has its options told, and its synchronous, asynchronous and streamed form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeGuard, overload

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import Self

from deepen_llm.config import EnsembleConfig, EnsembleSettings
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.engine.scoring import Continuation, score
from deepen_llm.errors import ConfigError, DeepenError
from deepen_llm.fusion import FOLLOWING, AggregationWeights, FixedWeights, FusionMethod
from deepen_llm.fusion.gate import Gate
from deepen_llm.members.base import Member, Message
from deepen_llm.members.config import MemberConfig, Quantization
from deepen_llm.members.local.loading import load_members
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.outputs import Output, Score
from deepen_llm.requests.build import Requests
from deepen_llm.requests.prompts import encode_continuation, encode_conversation, encode_text, paired
from deepen_llm.requests.run import Run
from deepen_llm.requests.streams import AsyncTextStream, TextStream

Conversation = Sequence[Message]
AnyMember = Member | tuple[PreTrainedModel, PreTrainedTokenizerBase]
AnyFusion = str | Mapping[str, Any] | FusionMethod
AnyWeights = Sequence[float] | str | Mapping[str, Any] | AggregationWeights
AnyGate = str | Mapping[str, Any] | Gate


class EnsembleLLM:
    """Several local language models with different vocabularies that decode as one.

    Args:
        members: Members, or pairs of a `transformers` model and its tokenizer.
        main_model: Index of the member whose vocabulary tokens are chosen from.
        weights: Aggregation weights, one per member, scaled to sum 1; None for equal ones. A member of weight 0 takes
            no part, unless it is the main model. Or weights that follow the input: ``prompt``, ``entropy`` or
            ``track``, or a configured one, such as ``PromptWeights(tau=0.5)``. Or `AggregationWeights` of your own,
            which no configuration can hold.
        fusion: A fusion method's name or a configured one, such as ``Deepen(relr=0.15, search_steps=5)``.
        gate: Where to fuse: ``always``, ``unsure`` (only where the main model is), ``boundary`` (only where every
            member's tokens have one), ``safe`` (only where members do not agree), or a configured one, such as
            ``Gate(when="unsure", below=0.8)``.
        eos_policy: Who ends a text: the ``fused`` distribution, or the ``main`` model alone.
        batch_size: The most texts decoded together; fewer where their caches would not fit into memory.
        draft_tokens: The most tokens that are drafted ahead, for the members to read at once; 0 for none. The length
            adapts to what has been accepted, and no answer changes but for rounding.
        draft_model: A small model of the main model's vocabulary that drafts in its place and has no say; with
            ``draft_tokens`` above 0.
        generation: Generation options in force unless a call says otherwise.

    Raises:
        ConfigError: A setting cannot be used.
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
        main_model: int = 0,
        weights: AnyWeights | None = None,
        fusion: AnyFusion = "surface",
        gate: AnyGate = "always",
        eos_policy: str = "fused",
        batch_size: int = 16,
        draft_tokens: int = 0,
        draft_model: AnyMember | None = None,
        generation: GenerationOptions | Mapping[str, Any] | None = None,
    ) -> None:
        known = (FixedWeights, *FOLLOWING.values())
        own = weights if isinstance(weights, AggregationWeights) and type(weights) not in known else None
        given = {
            "main_model": main_model,
            "weights": None if own else weights,
            "fusion": fusion,
            "gate": gate,
            "eos_policy": eos_policy,
            "batch_size": batch_size,
            "draft_tokens": draft_tokens,
            "generation": generation or GenerationOptions(),
        }
        self.settings = EnsembleSettings(**given)
        """All options, checked."""
        self._own_weights, aggregation = own, own or self.settings.aggregation_weights(len(members))
        self.settings.require_mixture(aggregation)
        self.members: tuple[Member, ...] = tuple(_member(one) for one in members)
        self.draft_model = None if draft_model is None else _member(draft_model)
        self._ensemble = self._bind(aggregation)
        self._requests = Requests(self._ensemble, self.settings)

    def __repr__(self) -> str:
        """The members' names, the main model and the fusion method."""
        names = ", ".join(member.name for member in self.members)
        return f"EnsembleLLM([{names}], main_model={self.settings.main_model}, fusion={self.settings.fusion!r})"

    def _bind(self, aggregation: AggregationWeights) -> Ensemble:
        """The members that take part: all but those whose weight is fixed at 0, the main model excepted."""
        main = self.settings.main_model
        part = [i for i in range(len(self.members)) if i == main or aggregation.takes_part(i)]
        members, place, weights = [self.members[i] for i in part], part.index(main), aggregation.among(part)
        if self.draft_model:
            self.settings.require_drafts()
            _check_draft_model(self.draft_model, self.members[main])
        fusing, settings = self.settings.fusion.prepare(members, place), self.settings
        return Ensemble(
            members,
            place,
            fusing,
            weights,
            settings.eos_policy,
            settings.draft_tokens,
            self.draft_model,
            settings.gate,
        )

    @classmethod
    def from_pretrained(
        cls,
        members: str | Path | Sequence[str | Path | Mapping[str, Any] | MemberConfig],
        *,
        main_model: int = 0,
        weights: AnyWeights | None = None,
        fusion: AnyFusion = "surface",
        gate: AnyGate = "always",
        eos_policy: str = "fused",
        batch_size: int = 16,
        draft_tokens: int = 0,
        draft_model: str | Path | Mapping[str, Any] | MemberConfig | None = None,
        generation: GenerationOptions | Mapping[str, Any] | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | Sequence[str | torch.device] = "auto",
        device_map: str | None = None,
        quantization: Quantization | None = None,
        compile: bool = False,  # noqa: A002 - as MemberConfig calls it
        trust_remote_code: bool = False,
        safetensors_only: bool = True,
    ) -> Self:
        """Load the members and make an ensemble of them.

        Args:
            members: Hub ids, local folders or `MemberConfig`; or one configuration file (``.yaml``), which then says
                everything else too.
            main_model: See the class, as the next seven.
            weights: Aggregation weights.
            fusion: The fusion method.
            gate: Where to fuse.
            eos_policy: Who ends a text.
            batch_size: The most texts decoded together.
            draft_tokens: The most tokens that are drafted ahead.
            draft_model: Where the model that drafts comes from.
            generation: Generation options.
            dtype: ``auto`` or a torch dtype; this and the next six hold for members given by path alone.
            device: ``auto`` (the GPUs with most free memory, see `MemberConfig`), a torch device for all members, or a
                list with one for each.
            device_map: Accelerate's ``device_map``, in place of ``device``.
            quantization: Quantise linear layers while they are loaded; see `MemberConfig`.
            compile: Compile one-token steps; see `MemberConfig`.
            trust_remote_code: Run code that comes with the checkpoints.
            safetensors_only: Refuse weights in other formats.

        Raises:
            ConfigError: A setting cannot be used.
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.

        Warns:
            UserWarning: A member with ``device="auto"`` fits on no GPUs and goes to the CPU.
        """
        given = {
            "main_model": main_model,
            "weights": weights,
            "fusion": fusion,
            "gate": gate,
            "eos_policy": eos_policy,
            "batch_size": batch_size,
            "draft_tokens": draft_tokens,
            "generation": generation or GenerationOptions(),
        }
        if isinstance(members, str | Path) and str(members).endswith((".yaml", ".yml")):
            placed = (dtype, device, device_map, quantization, compile, trust_remote_code, safetensors_only)
            if (
                draft_model
                or EnsembleSettings(**given) != EnsembleSettings()
                or placed != ("auto", "auto", None, None, False, False, True)
            ):
                raise ConfigError(
                    f"options beside the configuration {members}, which says everything itself",
                    hint="set them in the file, or load the members' folders with these options",
                )
            return cls.from_config(members)
        members = [members] if isinstance(members, str | Path | Mapping | MemberConfig) else list(members or ())
        devices = list(device) if isinstance(device, list | tuple) else [device] * len(members)
        if len(devices) != len(members):
            raise ConfigError(f"{len(devices)} devices for {len(members)} members", hint="give one device per member")
        common = {
            "dtype": dtype,
            "device_map": device_map,
            "quantization": quantization,
            "compile": compile,
            "trust_remote_code": trust_remote_code,
            "safetensors_only": safetensors_only,
        }
        sources = [
            {"path": str(one), "device": place, **common} if isinstance(one, str | Path) else one
            for one, place in zip(members, devices, strict=True)
        ]
        main = {"device": devices[main_model]} if 0 <= main_model < len(devices) else {}
        drafting = {"path": str(draft_model), **main, **common} if isinstance(draft_model, str | Path) else draft_model
        return cls.from_config(EnsembleConfig(members=sources, draft_model=drafting, **given))

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
        drafting = [config.draft_model] if config.draft_model else []
        loaded = load_members([*config.members, *drafting])
        return cls(
            loaded[: len(config.members)],
            draft_model=loaded[-1] if drafting else None,
            **{name: getattr(config, name) for name in EnsembleSettings.model_fields},
        )

    @property
    def config(self) -> EnsembleConfig:
        """The configuration that `from_config` makes this ensemble of.

        It holds a fusion method of your own as the object that it is, which no file can (see `save_config`).

        Raises:
            ConfigError: A member lives in memory only, or the aggregation weights are an object of your own.
        """
        if self._own_weights:
            raise ConfigError(
                f"no configuration holds aggregation weights of your own ({type(self._own_weights).__name__})",
                hint="give a list of weights or a name, or keep the code that makes the ensemble",
            )
        drafting = _source(self.draft_model) if self.draft_model else None
        return EnsembleConfig(
            members=[_source(member) for member in self.members], draft_model=drafting, **dict(self.settings)
        )

    @property
    def ensemble(self) -> Ensemble:
        """The members that take part, and how they are fused: what the decoding loop works with."""
        return self._ensemble

    @property
    def main_model(self) -> Member:
        """The member whose vocabulary tokens are chosen from."""
        return self._ensemble.main_model

    @property
    def context_window(self) -> int | None:
        """Tokens that fit into the smallest member's context window; None where no member knows a bound."""
        return min((length for one in self._ensemble.members if (length := one.context_length)), default=None)

    def save_config(self, file: str | Path) -> None:
        """Write the YAML file that `from_config` loads.

        Raises:
            ConfigError: See `config`; the fusion method or the gate is of a class of your own; or the file cannot be
                written.
        """
        self.config.save(file)

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
            return_exceptions: Of several prompts, let one that cannot be used fail alone, with its error in its place.
            **options: Fields of `GenerationOptions`.

        Returns:
            One `Output` per prompt; a list for a list.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: A prompt is empty, or leaves no room in a context window.
            LogitsError: A member's logits are no distribution.
        """
        outputs = self._continuing(prompt, return_exceptions, options).finish()
        return outputs if _is_many(prompt) else outputs[0]

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
            return_exceptions: See `generate`.
            **options: Fields of `ChatOptions`: those of `generate`, and ``tools``, ``tool_choice``,
                ``parallel_tool_calls``, ``continue_final_message``.

        Returns:
            One `Output` per conversation; a list for a list of lists.

        Raises:
            PromptError: There are no messages, a member has no template, or its template refuses them.
            ConfigError: See `generate`, as for the others; also for tools that cannot be used.
        """
        outputs = self._answering(messages, return_exceptions, options).finish()
        return outputs if _is_conversations(messages) else outputs[0]

    def stream(self, prompt: str, **options: Any) -> TextStream:
        """Continue a prompt piece by piece: whole characters, and never part of a stop string.

        The models work only while the stream is read; its ``output`` is there once it has ended.

        Args:
            prompt: The prompt.
            **options: Fields of `GenerationOptions`.

        Raises:
            ConfigError: See `generate`, as for the others; also for ``n`` above 1.
        """
        return self._requests.for_prompts([prompt], options).stream()

    def stream_chat(self, messages: Conversation, **options: Any) -> TextStream:
        """`stream`, for a conversation as `chat` takes it; tool calls come with the pieces, beside their text."""
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
        """`generate` in a thread, step by step: the event loop goes on, and cancelling stops the models."""
        run = await asyncio.to_thread(self._continuing, prompt, return_exceptions, options)
        outputs = await run.afinish()
        return outputs if _is_many(prompt) else outputs[0]

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
        """`chat` in a thread, as `agenerate`."""
        run = await asyncio.to_thread(self._answering, messages, return_exceptions, options)
        outputs = await run.afinish()
        return outputs if _is_conversations(messages) else outputs[0]

    def astream(self, prompt: str, **options: Any) -> AsyncTextStream:
        """`stream` in a thread, as `agenerate`."""
        return AsyncTextStream(partial(self.stream, prompt, **options))

    def astream_chat(self, messages: Conversation, **options: Any) -> AsyncTextStream:
        """`stream_chat` in a thread, as `agenerate`."""
        return AsyncTextStream(partial(self.stream_chat, messages, **options))

    @overload
    def score(self, prompt: str, continuation: str) -> Score: ...  # type: ignore[overload-overlap]  # a string is one
    @overload
    def score(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> list[Score]: ...
    def score(self, prompt: str | Sequence[str], continuation: str | Sequence[str]) -> Score | list[Score]:
        """The ensemble's log-probability of each main-model token of a continuation, or of each of several.

        Up to ``batch_size`` continuations are read together. Those of one prompt share its reading, so that the choices
        of a question are best given as ``score(question, [" Paris", " Rome"])``.

        Args:
            prompt: The prompt, or one for each continuation.
            continuation: What follows it, or one for each prompt; it is encoded as the main model's tokenizer does in
                this place.

        Returns:
            One `Score`; a list where either is a list.

        Raises:
            PromptError: A prompt or a continuation is empty, they leave no room in a context window, or there are not
                as many of one as of the other.
        """
        prompts, continuations = paired(prompt, continuation)
        encoded = {text: encode_text(self._ensemble, text) for text in dict.fromkeys(prompts)}
        found = self._scored([encoded[text] for text in prompts], continuations)
        return found if _is_many(prompt) or _is_many(continuation) else found[0]

    @overload
    def score_chat(self, messages: Conversation, continuation: str, **options: Any) -> Score: ...
    @overload
    def score_chat(self, messages: Conversation, continuation: Sequence[str], **options: Any) -> list[Score]: ...
    def score_chat(
        self, messages: Conversation, continuation: str | Sequence[str], **options: Any
    ) -> Score | list[Score]:
        """`score`, of an answer to a conversation as `chat` takes it, or of each of several answers to the same one.

        Many models begin an answer with a space, which their templates leave to it.

        Args:
            messages: The conversation.
            continuation: The answer, or several.
            **options: ``chat_template_kwargs`` and ``continue_final_message``, as `chat` takes them.

        Raises:
            ConfigError: An option is unknown or cannot be used.
            PromptError: See `chat` and `score`.
        """
        continuations = [continuation] if isinstance(continuation, str) else continuation
        encoded = encode_conversation(self._ensemble, messages, self._requests.templating(options))
        found = self._scored([encoded] * len(continuations), continuations)
        return found[0] if isinstance(continuation, str) else found

    def _scored(self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str]) -> list[Score]:
        asked = [
            Continuation(prompt, encode_continuation(self._ensemble, prompt, follows))
            for prompt, follows in zip(prompts, continuations, strict=True)
        ]
        scores = dict(score(self._ensemble, asked, self.settings.batch_size))
        return [scores[i] for i in range(len(asked))]

    def _continuing(self, prompt: str | Sequence[str], keep_errors: bool, options: Mapping[str, Any]) -> Run:
        if _is_many(prompt):
            return self._requests.for_prompts(prompt, options, keep_errors=keep_errors)
        return self._requests.for_prompts([prompt], options)

    def _answering(
        self, messages: Conversation | Sequence[Conversation], keep_errors: bool, options: Mapping[str, Any]
    ) -> Run:
        if _is_conversations(messages):
            return self._requests.for_chats(messages, options, keep_errors=keep_errors)
        return self._requests.for_chats([messages], options)


def _member(given: object) -> Member:
    if isinstance(given, Member):
        return given
    if (
        isinstance(given, tuple | list)
        and len(given) == 2
        and isinstance(given[0], nn.Module)
        and hasattr(given[0], "config")
    ):
        return LocalMember(*given)
    raise ConfigError(
        f"{given!r:.80} is no member: expected a Member or a pair (model, tokenizer)",
        hint="load hub ids, folders and configuration files with EnsembleLLM.from_pretrained",
    )


def _check_draft_model(drafting: Member, main: Member) -> None:
    if drafting.vocabulary.fingerprint != main.vocabulary.fingerprint:
        raise ConfigError(
            f"draft_model {drafting.name} has another vocabulary than the main model {main.name}",
            hint="give a model with the main model's own tokenizer, or none: the main model drafts itself",
        )


def _is_many(given: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def _is_conversations(given: object) -> TypeGuard[Sequence[Any]]:
    return _is_many(given) and bool(given) and not isinstance(given[0], Mapping)


def _source(member: Member) -> MemberConfig:
    path = getattr(getattr(member, "model", None), "name_or_path", "")
    if member.source is None and not path:
        raise ConfigError(
            f"member {member.name} lives in memory only, so no configuration can name it",
            hint="save the model and its tokenizer with save_pretrained and load them from there",
        )
    return member.source or MemberConfig(path=str(path), name=member.name)
