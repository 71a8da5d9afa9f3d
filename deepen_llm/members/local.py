"""A member that is a local `transformers` model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm.errors import LoadError, PromptError
from deepen_llm.members.base import Context, Member, Message
from deepen_llm.members.context import AfreshContext, CachedContext
from deepen_llm.members.encoding import TOKENIZER_LOCK, Prompt, TextEncoder, is_mistral_common
from deepen_llm.members.model import CausalModel, Memory
from deepen_llm.members.transcript import Transcript
from deepen_llm.vocabulary import Vocabulary


class LocalMember(Member):
    """A causal language model with its tokenizer.

    Args:
        model: A `transformers` causal language model; it is switched to evaluation.
        tokenizer: Its tokenizer.
        name: What messages and traces call it; by default the model's own name.

    Raises:
        LoadError: The model is no causal language model, or its token embeddings are offloaded.
        VocabularyError: The tokenizer does not fit the model, or is of no known kind.

    Warns:
        UserWarning: The model's cache cannot be rolled back, so it reads the whole text at every step.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | None = None) -> None:
        self.name = name or str(getattr(model, "name_or_path", "") or type(model).__name__)
        _refuse_encoder_decoder(model, self.name)
        self.model, self.tokenizer = model, tokenizer
        size = model.get_output_embeddings().weight.shape[0]
        self.vocabulary = Vocabulary.from_tokenizer(tokenizer, size=size, end_of_text=_end_of_text(model, tokenizer))
        self.context_length = _context_length(model)
        self._encoder = TextEncoder(tokenizer, self.vocabulary.special, self.vocabulary.surfaces)
        spelled = tokenizer.convert_ids_to_tokens(sorted(self.vocabulary.special))
        self._special_tokens = [token for token in spelled if token]  # more than all_special_tokens knows
        self._causal = CausalModel(model)
        self.embedding = self._causal.embedding
        if self.embedding.is_meta:
            raise LoadError(
                f"the token embeddings of member {self.name} are offloaded, and fusion reads them at every step",
                hint="keep them in memory: give a device_map with room for them, or a smaller dtype",
            )
        self._memory = self._causal.memory()
        if self._memory is Memory.NONE:
            warnings.warn(
                f"member {self.name} ({type(model).__name__}) has {self._memory.value}: it reads the whole text afresh "
                "at every step, which is slow",
                stacklevel=2,
            )

    def encode_prompt(self, text: str) -> Prompt:
        """See `Member`."""
        return self._encoder.prompt(text)

    def encode_chat(self, messages: Sequence[Message]) -> Prompt:
        """See `Member`."""
        conversation = [dict(message) for message in messages]
        if is_mistral_common(self.tokenizer):  # which has its templates in code, and never renders them to text
            return self._encoder.closed(self._rendered(conversation, tokenize=True))
        if not self.tokenizer.chat_template:
            raise PromptError(
                f"member {self.name} has no chat template",
                hint="choose an instruction-tuned checkpoint, set tokenizer.chat_template, or use generate()",
            )
        text = self._rendered(conversation, tokenize=False)
        if self._spells_special_tokens(conversation):
            return self._encoder.closed(self._sanitised(conversation))
        return self._encoder.resumable(self._encoder.recognising(text), text, 0)

    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        """See `Member`."""
        for start in (prompt, self._encoder.closed(list(prompt.ids))):
            script = Transcript(self._encoder, start)
            script.append_text(text)
            if script.ids[: len(prompt.ids)] == list(prompt.ids):
                break
        return script.ids[len(prompt.ids) :]

    def open(self, prompts: Sequence[Prompt]) -> Context:
        """See `Member`."""
        arguments = (self.name, self._causal, self.vocabulary, self._encoder, prompts)
        if self._memory is Memory.NONE:
            return AfreshContext(*arguments)
        return CachedContext(self._memory is Memory.BATCHED, *arguments)

    def _rendered(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        try:
            return self._render(conversation, **options)
        except Exception as error:  # templates are programs of the checkpoint's, and raise what they like
            raise PromptError(
                f"the chat template of member {self.name} refuses these messages: {error}",
                hint="give messages as {'role': 'user', 'content': '...'}, roles in the order that the template knows",
            ) from error

    def _render(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        with TOKENIZER_LOCK:
            return self.tokenizer.apply_chat_template(
                conversation, add_generation_prompt=True, return_dict=False, **options
            )

    def _sanitised(self, conversation: list[dict[str, Any]]) -> list[int]:
        """Ids of a conversation in which special tokens spelled out in a message stay plain text."""
        try:
            if "sanitize_control_tokens" not in inspect.signature(self.tokenizer.apply_chat_template).parameters:
                raise ValueError("this version of transformers obeys them")
            return list(self._render(conversation, tokenize=True, sanitize_control_tokens=True))
        except ValueError as error:
            raise PromptError(
                f"a message spells out a special token of member {self.name}, and it cannot stay plain text: {error}",
                hint="remove the special token from the message, or upgrade transformers",
            ) from error

    def _spells_special_tokens(self, conversation: list[dict[str, Any]]) -> bool:
        spoken = [said for message in conversation for said in _strings(message)]
        return any(token in said for token in self._special_tokens for said in spoken)


def _strings(given: Any) -> list[str]:
    """All that a message says, wherever it stands in it, but for its role."""
    if isinstance(given, Mapping):
        return [said for key, value in given.items() if key != "role" for said in _strings(value)]
    if isinstance(given, list | tuple):
        return [said for value in given for said in _strings(value)]
    return [str(given)]


def _end_of_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All ids that end a text, by the generation config (else the model's config) and by the tokenizer."""
    configs = (getattr(model, "generation_config", None), model.config, model.config.get_text_config(decoder=True))
    own = [given for config in configs if (given := getattr(config, "eos_token_id", None)) is not None]
    found: list[int] = []
    for given in (*own[:1], tokenizer.eos_token_id):
        found += given if isinstance(given, list) else [] if given is None else [given]
    return list(dict.fromkeys(found))


def _context_length(model: PreTrainedModel) -> int | None:
    config = model.config.get_text_config(decoder=True)
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")
    return next((int(value) for name in names if (value := getattr(config, name, None) or 0) > 0), None)


def _refuse_encoder_decoder(model: PreTrainedModel, name: str) -> None:
    if model.config.is_encoder_decoder or model.get_output_embeddings() is None:
        raise LoadError(
            f"member {name} ({type(model).__name__}) is no causal language model",
            hint="load it with AutoModelForCausalLM; encoder-decoder models and models without a head cannot take part",
        )
