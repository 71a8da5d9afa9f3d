"""A member that is a local `transformers` model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm.errors import LoadError, LogitsError
from deepen_llm.members.base import Context, Member, Message
from deepen_llm.members.local.context import AfreshContext, CachedContext, LogitsMemory
from deepen_llm.members.local.limits import bytes_per_token, window_in
from deepen_llm.members.local.model import CausalModel
from deepen_llm.members.local.quantization import keep_odd_shapes_plain
from deepen_llm.members.local.traits import Memory
from deepen_llm.members.text.chat import ChatEncoder
from deepen_llm.members.text.encoding import Prompt, TextEncoder
from deepen_llm.members.text.segments import first_tokens
from deepen_llm.members.text.transcript import Transcript
from deepen_llm.members.transformers_api import has_virtual_tokens
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.reader import CallReader, Reader
from deepen_llm.tools.template_reader import TemplateReader
from deepen_llm.vocabulary import stored_vocabulary


class LocalMember(Member):
    """A causal language model with its tokenizer.

    Args:
        model: A `transformers` causal language model; it is switched to evaluation.
        tokenizer: Its tokenizer.
        name: What messages and traces call it; by default the model's own name.
        folder: The folder that the tokenizer was just loaded from: what is read of a large one is kept on disk.
        compile: Compile one-token steps; see `MemberConfig`.

    Attributes:
        recording: Where logits are kept, for texts that come again; None where each is read.

    Raises:
        LoadError: The model is no causal language model, or its token embeddings are offloaded or quantised.
        VocabularyError: The tokenizer does not fit the model, or is of no known kind.

    Warns:
        UserWarning: The model's cache cannot be rolled back, so it reads the whole text at every step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str | None = None,
        *,
        folder: Path | None = None,
        compile: bool = False,  # noqa: A002 - what torch calls it
    ) -> None:
        self.name = name or str(getattr(model, "name_or_path", "") or type(model).__name__)
        _refuse_encoder_decoder(model, self.name)
        self.model, self.tokenizer = model, tokenizer
        self.recording: LogitsMemory | None = None
        size, ends = _width(model), _end_of_text(model, tokenizer)
        self.vocabulary = stored_vocabulary(tokenizer, size=size, end_of_text=ends, folder=folder)
        self.context_length = window_in(model.config)
        self._encoder = TextEncoder(tokenizer, self.vocabulary.special, self.vocabulary.surfaces)
        self._chat = ChatEncoder(self.name, tokenizer, self.vocabulary, self._encoder)
        keep_odd_shapes_plain(model)
        self._causal = CausalModel(model)
        self.embedding = self._causal.embedding
        if self.embedding.is_meta:
            raise LoadError(
                f"the token embeddings of member {self.name} are offloaded, and fusion reads them at every step",
                hint="keep them in memory: give a device_map with room for them, or a smaller dtype",
            )
        if type(self.embedding) is not Tensor or not self.embedding.is_floating_point() or self.embedding.itemsize < 2:
            raise LoadError(
                f"the token embeddings of member {self.name} are quantised, and fusion reads them as numbers",
                hint="take a checkpoint with plain embeddings: quantise its linear layers only, as most recipes do",
            )
        self.embedding = self.embedding[:size]
        self.weight_bytes = sum(one.numel() * one.element_size() for one in model.parameters())
        self.bytes_per_token = bytes_per_token(model.config, self._causal.dtype)
        if compile:
            self._causal.compile()
        self._memory = self._causal.traits.memory
        if self._memory is Memory.NONE:
            warnings.warn(
                f"member {self.name} ({type(model).__name__}) has {self._memory.value}: it reads the whole text afresh "
                "at every step, which is slow",
                stacklevel=2,
            )

    def encode_prompt(self, text: str) -> Prompt:
        """See `Member`."""
        return self._encoder.prompt(text)

    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> Prompt:
        """See `Member`."""
        own = {**self.chat_template_kwargs, **(variables or {})}
        return self._chat.encode(messages, tools, own, continue_final_message=continue_final_message)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> str:
        """See `Member`."""
        own = {**self.chat_template_kwargs, **(variables or {})}
        return self._chat.render(messages, tools, own, continue_final_message=continue_final_message)

    def reads_variable(self, name: str) -> bool:
        """See `Member`."""
        return self._chat.template.reads(name)

    @property
    def tool_format(self) -> ToolFormat:
        """See `Member`."""
        return self._chat.tool_format

    def reader(self, prompt: Prompt, toolbox: Toolbox | None, *, structured: bool = False) -> Reader | None:
        """See `Member`."""
        tools = toolbox.callable_tools if toolbox else ()
        if not structured and TemplateReader.fits(self.tokenizer) and (not toolbox or self._chat.own_format):
            return TemplateReader(self.tokenizer, self._chat.spelled(prompt.ids), tools)
        return CallReader(self.tool_format, [tool.name for tool in tools]) if toolbox else None

    def shortened(self, prompt: Prompt, tokens: int) -> Prompt:
        """The end of a prompt, for a text that is too long.

        Args:
            prompt: The prompt.
            tokens: How many tokens to keep, if it has more.
        """
        return self._encoder.shortened(prompt, tokens)

    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        """See `Member`."""
        for start in (prompt, self._encoder.closed(list(prompt.ids))):
            script = Transcript(self._encoder, start)
            script.append_text(text)
            if script.ids[: len(prompt.ids)] == list(prompt.ids):
                break
        return script.ids[len(prompt.ids) :]

    @torch.inference_mode()
    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """See `Member`; a model that cannot go on from what it has read keeps a prompt's logits all at once."""
        if self._causal.traits.reads_ahead:
            return super().prompt_logprobs(prompts)
        return [self._logprobs_at_once(prompt.ids) for prompt in prompts]

    def _logprobs_at_once(self, ids: Sequence[int]) -> Tensor:
        if len(ids) < 2:
            return torch.empty(0)
        logits = self._causal.read_afresh(ids[:-1], len(ids) - 1).float()
        logits[:, self.vocabulary.tokenizer_size :] = -torch.inf
        if not logits.amax(-1).isfinite().all():
            raise LogitsError(
                f"member {self.name} gave logits that are no distribution (NaN, +inf or all -inf) for a prompt",
                hint="load it with dtype='float32' or 'bfloat16', and try its weights with transformers",
            )
        targets = torch.tensor(ids[1:], device=logits.device)[:, None]
        return logits.log_softmax(-1).gather(1, targets)[:, 0].cpu()

    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """See `Member`."""
        return first_tokens(self._encoder, self.vocabulary, texts)

    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        """See `Member`."""
        arguments = (self.name, self._causal, self.vocabulary, self._encoder, prompts, back, self.recording)
        if self._memory is Memory.NONE:
            return AfreshContext(*arguments)
        return CachedContext(self._memory is Memory.BATCHED, *arguments)


def _end_of_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All ids that end a text, by the generation config (else the model's config) and by the tokenizer."""
    configs = (getattr(model, "generation_config", None), model.config, model.config.get_text_config(decoder=True))
    own = [given for config in configs if (given := getattr(config, "eos_token_id", None)) is not None]
    found: list[int] = []
    for given in (*own[:1], tokenizer.eos_token_id):
        found += given if isinstance(given, list) else [] if given is None else [given]
    return list(dict.fromkeys(found))


def _width(model: PreTrainedModel) -> int:
    """How many tokens can be both chosen and read.

    A quantised head's weight may be packed, so that its shape does not tell.
    """
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 2 and weight.is_floating_point():
        logits = weight.shape[0]
    else:
        logits = int(head.out_features)
    return min(logits, len(model.get_input_embeddings().weight))


def _refuse_encoder_decoder(model: PreTrainedModel, name: str) -> None:
    if model.config.is_encoder_decoder or model.get_output_embeddings() is None:
        raise LoadError(
            f"member {name} ({type(model).__name__}) is no causal language model",
            hint="load it with AutoModelForCausalLM; encoder-decoder models and models without a head cannot take part",
        )
    if has_virtual_tokens(model):
        raise LoadError(
            f"member {name} has an adapter that adds virtual tokens to each text, which no member can have",
            hint="take an adapter that changes weights, such as LoRA, or the model without one",
        )
