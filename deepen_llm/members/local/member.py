"""A member that is a local `transformers` model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from deepen_llm.errors import LogitsError
from deepen_llm.members.base import Member
from deepen_llm.members.context import Context
from deepen_llm.members.local.cached_context import AfreshContext, CachedContext
from deepen_llm.members.local.context import LogitsMemory
from deepen_llm.members.local.model_side import LocalModel
from deepen_llm.members.local.prefixes import PrefixCache
from deepen_llm.members.local.traits import CacheSupport
from deepen_llm.members.text.encoding import Prompt
from deepen_llm.members.text.tokenizer_text import TokenizerText
from deepen_llm.vocabulary import stored_vocabulary


class LocalMember(TokenizerText, LocalModel, Member):
    """A causal language model with its tokenizer.

    Args:
        model: A `transformers` causal language model; it is switched to evaluation.
        tokenizer: Its tokenizer.
        name: What messages and traces call it; by default the model's own name.
        folder: The folder that the tokenizer was loaded from; where it is given, a large tokenizer's vocabulary is kept
            on disk.
        compile: Compile one-token steps; see `MemberConfig`.

    Attributes:
        recording: Where logits are kept for texts that are read again; None where every text is read.

    Raises:
        LoadError: The model is no causal language model.
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
        name = name or str(getattr(model, "name_or_path", "") or type(model).__name__)
        LocalModel.__init__(self, model, name, compile=compile)
        ends = _end_of_text(model, tokenizer)
        vocabulary = stored_vocabulary(tokenizer, size=self.width, end_of_text=ends, folder=folder)
        TokenizerText.__init__(self, name, tokenizer, vocabulary)
        self.recording: LogitsMemory | None = None
        self._prefixes = PrefixCache(self.device)

    @override
    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        arguments = (self.name, self.causal, self.vocabulary, self.encoder, prompts, back, self.recording)
        traits = self.causal.traits
        if traits.cache_support is CacheSupport.NONE:
            return AfreshContext(*arguments)
        shared, reusable = traits.cache_support is CacheSupport.BATCHED, traits.reads_in_parts and not self.recording
        return CachedContext(shared, self._prefixes if reusable else None, *arguments)

    @torch.inference_mode()
    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """See `ModelSide`; where `Traits.reads_ahead` is False, one forward gives a prompt's logits all at once."""
        if self.causal.traits.reads_ahead:
            return super().prompt_logprobs(prompts)
        return [self._logprobs_at_once(prompt.ids) for prompt in prompts]

    def _logprobs_at_once(self, ids: Sequence[int]) -> Tensor:
        if len(ids) < 2:
            return torch.empty(0)
        logits = self.causal.read_afresh(ids[:-1], len(ids) - 1).float()
        logits[:, self.vocabulary.tokenizer_size :] = -torch.inf
        if not logits.amax(-1).isfinite().all():
            raise LogitsError(
                f"member {self.name} gave logits that are no distribution (NaN, +inf or all -inf) for a prompt",
                hint="load it with dtype='float32' or 'bfloat16', and try its weights with transformers",
            )
        targets = torch.tensor(ids[1:], device=logits.device)[:, None]
        return logits.log_softmax(-1).gather(1, targets)[:, 0].cpu()


def _end_of_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All ids that end a text, by the generation config (else the model's config) and by the tokenizer."""
    configs = (getattr(model, "generation_config", None), model.config, model.config.get_text_config(decoder=True))
    configured = [eos for config in configs if (eos := getattr(config, "eos_token_id", None)) is not None]
    ids: list[int] = []
    for eos in (*configured[:1], tokenizer.eos_token_id):
        ids += eos if isinstance(eos, list) else [] if eos is None else [eos]
    return list(dict.fromkeys(ids))
