"""Members with different vocabularies that say what a script tells them, token by token, whoever else decodes."""

import time
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import ScriptedLlama, answering

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


class Speaker(ScriptedLlama):
    """One that counts its forwards, can take its time for each, and can fail at one."""

    steps, delay, fail_at = 0, 0.0, -1

    def forward(self, *given: Any, **options: Any) -> Any:
        self.steps += 1
        time.sleep(self.delay)
        if self.steps == self.fail_at:
            raise RuntimeError("the device fell off")
        return super().forward(*given, **options)


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
        speaker = answering(own, said, (generation_mark(own), *marks), limit=window, kind=Speaker)
        members.append(LocalMember(*speaker, name))
        if template:
            own.chat_template = template
    return EnsembleLLM(members, fusion="surface")  # of such vocabularies a step in 10 ms, where `bayes` takes 25


speaking = cache(fresh)
"""`fresh`, but shared: for tests that leave the models as they are."""


def speakers(llm: EnsembleLLM) -> list[Any]:
    """The models of a speaking ensemble."""
    return [member.model for member in llm.members]  # type: ignore[attr-defined]


def rested(llm: EnsembleLLM) -> EnsembleLLM:
    """The ensemble, whose models have taken no step, take no time and do not fail."""
    for model in speakers(llm):
        model.steps, model.delay, model.fail_at = 0, 0.0, -1
    return llm


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
    return EnsembleLLM([(_random_llama(own), own) for own in map(tokenizer, ("curie", "atlas"))], fusion="surface")


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
