"""Decode with the 131,072- and the 199,999-token vocabulary; prints bytes of memory at its peak, beside the weights.

Run as a process of its own, so that the peak is its own: ``python -m tests.large_vocabularies deepen bayes``.
It prints the peak after each method; what comes later holds what came before to the same bound.
"""

import resource
import sys
import time

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepen_llm import EnsembleLLM
from tests.models import random_model
from tests.tokenizers import REAL

Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def main(*methods: str) -> None:
    members: list[Pair] = []
    for kind in ("tekken", "o200k"):
        tokenizer = REAL[kind]()
        members.append((random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer))
    weights = sum(p.numel() * p.element_size() for model, _ in members for p in model.parameters())
    for fusion in methods:
        decode(members, fusion)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - weights)


def decode(members: list[Pair], fusion: str) -> None:
    """Two tokens for each of four prompts."""
    started = time.perf_counter()
    llm = EnsembleLLM(members, fusion=fusion)
    ready = time.perf_counter()
    outs = llm.generate(["The quick brown fox", "She sells", "Die Antwort", "1, 2, 3"], max_new_tokens=2)
    assert sum(len(out.tokens) for out in outs) == 8
    print(f"start-up {ready - started:.1f} s, {(time.perf_counter() - ready) / 8:.1f} s a token", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
