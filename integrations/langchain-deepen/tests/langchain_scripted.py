"""Members that spell a given answer under any tokenizer, and two tokenizers of different kinds."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from deepen_llm.testing import answering

Answers = Callable[[str], str]
TURN, END = "<|turn|>", "<|end|>"
_MARK = re.compile(r"(<\|turn\|> ?assistant\n|\|)\Z")
TEXTS = [
    "The quick brown fox jumps over the lazy dog. Don't panic, said the guide, and it was right!",
    'What is the capital of France? {"name": "get_weather", "arguments": {"location": "Paris"}} It is sunny.',
    '<tool_call>\n{"name": "magic_function", "arguments": {"input": 3}}\n</tool_call>',
    '{"setup": "Why did the cat cross?", "punchline": "It was there."}',
    "I am fine, Ada. What can I do?",
    " ".join(map(chr, range(0x21, 0x7F))),
]
_TURNS = (
    "{% for message in messages %}" + TURN + "{{ message['role'] + '\n' }}"
    "{% if message['role'] == 'tool' %}{{ '<tool_response>\n' + message['content'] + '\n</tool_response>' }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% for call in message['tool_calls'] or [] %}{{ '<tool_call>\n{\"name\": \"' + call['function']['name'] + "
    "'\", \"arguments\": ' + call['function']['arguments'] | tojson + '}\n</tool_call>' }}{% endfor %}" + END + ""
    "{% endfor %}{% if add_generation_prompt %}" + TURN + "{{ 'assistant\n' }}{% endif %}"
)
KNOWS_TOOLS = "{% if tools %}" + TURN + "{{ 'system\n# Tools\n' + tools | tojson }}" + END + "{% endif %}" + _TURNS
KNOWS_NONE = _TURNS.replace("message['tool_calls'] or []", "[]")


def scripted(
    name: str, tokenizer: PreTrainedTokenizerBase, answers: Answers, *, strength: float = 30.0, limit: int = 8192
) -> LocalMember:
    """A member that gives the answers; a plain prompt ends with a bar."""
    said = cache(lambda prompt: answers(_MARK.sub("", prompt.lstrip())))
    marks = [f"{TURN}assistant\n", f"{TURN} assistant\n", "|"]
    return LocalMember(*answering(tokenizer, said, marks, strength=strength, limit=limit), name)


def ensemble(answers: Answers, **settings: Any) -> EnsembleLLM:
    """Two such members with different vocabularies, and with templates of which one knows tools."""
    limit = settings.pop("limit", 8192)
    strength = settings.pop("strength", 30.0)
    members = [
        scripted("bytes", byte_level(), answers, limit=limit, strength=strength),
        scripted("pieces", pieces(), answers, limit=2 * limit, strength=strength),
    ]
    return EnsembleLLM(members, **{"fusion": "bayes", **settings})


@cache
def byte_level() -> PreTrainedTokenizerBase:
    """GPT-2's kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END, TURN], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=KNOWS_TOOLS, eos_token=END, additional_special_tokens=[TURN]
    )


@cache
def pieces() -> PreTrainedTokenizerBase:
    """Llama-2's kind: `▁`, byte pieces, a space put before the text."""
    special = ["<unk>", END, TURN]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=["▁", *"".join(TEXTS).replace(" ", "")],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    state = json.loads(tokenizer.to_str())  # byte pieces are tokens like any other, and no special ones
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        chat_template=KNOWS_NONE,
        unk_token="<unk>",
        eos_token=END,
        additional_special_tokens=[TURN],
    )


def random_weights(tokenizer: PreTrainedTokenizerBase, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A member that says anything."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


async def cancel(call: Coroutine[Any, Any, Any], forwards: list[int]) -> None:
    """Cancel a call once the models have worked for it, and see that they stop."""
    task = asyncio.ensure_future(call)
    while len(forwards) < 3:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = len(forwards)
    await asyncio.sleep(0.05)
    assert len(forwards) == seen
