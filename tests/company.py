"""What any setting must keep: no answer depends on threads, batches, drafts or streams."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deepen_llm import EnsembleLLM
from deepen_llm.outputs import Output
from tests.models import random_model, small
from tests.tokenizers import SMALL, bytes_only


def model_of(architecture: str, kind: str, seed: int = 0) -> Any:
    """A small model with its tokenizer, of a kind of `SMALL`, or of ``bytes`` alone."""
    if kind in SMALL:
        return small(architecture, kind, seed)
    tokenizer = bytes_only()
    return random_model(architecture, len(tokenizer), tokenizer.eos_token_id), tokenizer


def answered_alike(
    models: Sequence[Any], prompts: Sequence[str], asked: dict[str, Any], **options: Any
) -> list[Output]:
    """The answers to prompts one by one, after batches, drafts and, of single answers, a stream gave the same."""
    llm = EnsembleLLM(models, batch_size=3, **options)
    with ThreadPoolExecutor(2) as pool:
        alone = list(pool.map(lambda prompt: llm.generate(prompt, **asked), prompts))
    assert llm.generate(list(prompts), **asked) == alone
    drafted = EnsembleLLM(models, batch_size=3, draft_tokens=4, **options).generate(list(prompts), **asked)
    told = [[(one.text, one.tokens, one.finish_reason) for one in out.samples] for out in drafted]
    assert told == [[(one.text, one.tokens, one.finish_reason) for one in out.samples] for out in alone]
    if asked.get("n", 1) == 1:
        assert "".join(llm.stream(prompts[1], **asked)) == alone[1].text
    return alone
