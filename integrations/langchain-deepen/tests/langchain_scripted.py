"""Members without weights that spell a given answer under any tokenizer, and two tokenizers of different kinds.

What a member has read stands in its cache, as with any model: ids in the place of keys. So the core's own loop, its
caches and its fusion really run.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from deepen_llm.vocabulary import Vocabulary

Answers = Callable[[str], str]
TURN, END = "<|turn|>", "<|end|>"
TEXTS = [
    "The quick brown fox jumps over the lazy dog. Don't panic, said the guide, and it was right!",
    'What is the capital of France? {"name": "get_weather", "arguments": {"location": "Paris"}} It is sunny.',
    '<tool_call>\n{"name": "magic_function", "arguments": {"input": 3}}\n</tool_call>',
    '{"setup": "Why did the cat cross the road?", "punchline": "Because it was there."}',
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


class ScriptedModel(PreTrainedModel):  # type: ignore[misc]
    """Wants the next token of the answer with a given strength in nats; where it is not heard, the end of text."""

    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig, vocabulary: Vocabulary, answers: Answers, strength: float) -> None:
        super().__init__(config)
        torch.manual_seed(config.vocab_size)
        self.embedding = nn.Embedding(config.vocab_size, 16)
        self._vocabulary, self._answers, self._strength = vocabulary, cache(answers), strength
        special = {id_: text.encode() for text, id_ in {v: k for k, v in vocabulary.spellings.items()}.items()}
        self._bytes = [surface or special.get(id_, b"") for id_, surface in enumerate(vocabulary.surfaces)]
        self._ids = {surface: id_ for id_, surface in reversed(list(enumerate(vocabulary.surfaces))) if surface}
        self._longest = max(map(len, self._ids))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def get_output_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        logits_to_keep: Tensor | None = None,
    ) -> Any:
        seen = input_ids[:, None, :, None].float()
        if past_key_values is not None:
            seen, _ = past_key_values.update(seen, seen, 0)
        mask = torch.ones_like(seen[:, 0, :, 0]) if attention_mask is None else attention_mask
        places = range(input_ids.shape[1]) if logits_to_keep is None else logits_to_keep.tolist()
        before = seen.shape[2] - input_ids.shape[1]
        logits = torch.zeros(len(input_ids), len(places), self.config.vocab_size)
        for row in range(len(input_ids)):
            for column, place in enumerate(places):
                alive = mask[row, : before + place + 1].bool()
                read = seen[row, 0, : before + place + 1, 0][alive].long().tolist()
                logits[row, column, self._wanted(read)] = self._strength
        return SimpleNamespace(logits=logits)

    def _wanted(self, ids: list[int]) -> int:
        raw = b"".join(self._bytes[id_] for id_ in ids)
        turns = list(re.finditer(re.escape(TURN.encode()) + rb" ?assistant\n", raw))
        if turns:
            prompt, said = raw[: turns[-1].start()], raw[turns[-1].end() :]
            answer = self._answers(prompt.decode()).encode()
        else:
            prompt, _, _ = raw.lstrip().partition(b"|")  # a plain prompt ends with a bar
            said, answer = raw.lstrip()[len(prompt) + 1 :], self._answers(prompt.decode()).encode()
        left = answer[len(said) :] if answer.startswith(said) else b""
        found = (self._ids.get(left[:size]) for size in range(min(len(left), self._longest), 0, -1))
        return next((id_ for id_ in found if id_ is not None), int(self.config.eos_token_id))


def scripted(
    name: str, tokenizer: PreTrainedTokenizerBase, answers: Answers, *, strength: float = 30.0, limit: int = 8192
) -> LocalMember:
    """A member that gives the answers."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=limit,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    vocabulary = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[tokenizer.eos_token_id])
    return LocalMember(ScriptedModel(config, vocabulary, answers, strength), tokenizer, name)


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
