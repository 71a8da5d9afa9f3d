"""Members with different vocabularies that say what a script tells them, token by token, whoever else decodes."""

import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import Vocabulary

Script = Callable[[str], str]
"""From a prompt, as the main model's template writes it, to the answer."""

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
REFUSING = (  # a template that wants a user's message first, and turns
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must take turns') }}{% endif %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<answer>"
)


class SpeakingConfig(PreTrainedConfig):
    model_type = "speaking"


class Speaker(PreTrainedModel):
    """Random logits, and on top a strong wish for the next token of what the script says."""

    config_class = SpeakingConfig

    def __init__(self, tokenizer: Any, script: Script, marks: Sequence[str], window: int) -> None:
        size = len(tokenizer)
        super().__init__(
            SpeakingConfig(vocab_size=size, max_position_embeddings=window, eos_token_id=tokenizer.eos_token_id)
        )
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(size, 16), nn.Linear(16, size)
        self.vocabulary = Vocabulary.from_tokenizer(tokenizer, size=size, end_of_text=[tokenizer.eos_token_id])
        self.script, self.marks = script, [mark.encode() for mark in (generation_mark(tokenizer), *marks)]
        self.steps, self.delay, self.fail_at = 0, 0.0, -1
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave them as they are."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor) -> Any:
        self.steps += 1
        time.sleep(self.delay)
        if self.steps == self.fail_at:
            raise RuntimeError("the device fell off")
        logits = self.head(self.embed(input_ids[:, -1:]))
        logits[..., self._wanted(input_ids[0].tolist())] += 20
        return SimpleNamespace(logits=logits)

    def _wanted(self, ids: Sequence[int]) -> int:
        known = self.vocabulary
        text = b"".join(known.surfaces[id_] or known.spellings.get(id_, "").encode() for id_ in ids)
        mark = max(self.marks, key=text.rfind)
        prompt, _, said = text.rpartition(mark)
        answer = self.script((prompt + mark).decode()).encode()
        rest = answer[len(said) :] if answer.startswith(said) else b""
        return next(
            (known.ids[rest[:size]] for size in range(24, 0, -1) if rest[:size] in known.ids), known.end_of_text[0]
        )


def generation_mark(tokenizer: Any) -> str:
    """What a template puts where the answer begins."""
    hello = [{"role": "user", "content": "Hello."}]
    with_it, without = (
        tokenizer.apply_chat_template(hello, add_generation_prompt=wanted, tokenize=False) for wanted in (True, False)
    )
    return with_it.removeprefix(without)


@cache
def tokenizer(name: str) -> Any:
    """A specialist's vocabulary, with a template that knows no tools."""
    return AutoTokenizer.from_pretrained(specialists.path(name), chat_template=TEMPLATE)


def fresh(
    script: Script | str,
    *,
    marks: tuple[str, ...] = (),
    windows: tuple[int, int] = (8192, 4096),
    template: str | None = None,
) -> EnsembleLLM:
    """An ensemble of two speakers; the marks say where answers begin in prompts that no template has written."""
    said = script if callable(script) else lambda _: script
    members = []
    for name, window in zip(("atlas", "curie"), windows, strict=True):
        own = deepcopy(tokenizer(name)) if template else tokenizer(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a speaker reads its text afresh, and is so told to be slow
            members.append(LocalMember(Speaker(own, said, marks, window), own, name))
        if template:
            own.chat_template = template
    return EnsembleLLM(members, fusion="bayes")


speaking = cache(fresh)
"""`fresh`, but shared: for tests that leave the models as they are."""


def speakers(llm: EnsembleLLM) -> list[Any]:
    """The models of a speaking ensemble."""
    return [member.model for member in llm.members]  # type: ignore[attr-defined]


async def gathered(form: str, made: Any) -> list[Any]:
    """What a method of this name gave: a stream's responses, or its only one."""
    made = await made if form.startswith("a") else made
    if "stream" not in form:
        return [made]
    return [one async for one in made] if form.startswith("a") else list(made)


@cache
def random_members(seed: int) -> EnsembleLLM:
    """Two Llamas with random weights and different vocabularies."""
    torch.manual_seed(seed)
    return EnsembleLLM([(_random_llama(own), own) for own in map(tokenizer, ("curie", "atlas"))], fusion="bayes")


def _random_llama(own: Any) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(own),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        eos_token_id=own.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0, 0.4)
    return model
