"""Models that say a given text and really decode it: real forwards, real caches, a strong opinion on top."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase


class ScriptedLlama(LlamaForCausalLM):  # type: ignore[misc]
    """A small random Llama that, at position ``p``, wants ``script[p + 1]`` with the given strength in nats."""

    script: tuple[int, ...] = ()
    strength: float = 20.0

    def forward(self, *args: Any, **given: Any) -> Any:
        out = super().forward(*args, **given)
        positions = given["position_ids"]
        if (keep := given.get("logits_to_keep")) is not None and isinstance(keep, torch.Tensor):
            positions = positions[:, keep]
        script = torch.tensor([*self.script, self.config.eos_token_id])
        wanted = script[(positions + 1).clamp(max=len(script) - 1)]
        out.logits.scatter_add_(2, wanted.unsqueeze(-1), torch.full_like(out.logits[..., :1], self.strength))
        return out


def scripted(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, strength: float = 20.0, limit: int = 4096
) -> tuple[ScriptedLlama, PreTrainedTokenizerBase]:
    """A model that continues ``prompt`` with ``answer``, then the end of text."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=limit,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = ScriptedLlama(config).eval()
    model.script, model.strength = tuple(tokenizer.encode(prompt + answer)), strength
    return model, tokenizer
