"""Tokens that were added to a tokenizer and never to its model, and models whose embedding and head differ in width."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.errors import PromptError
from deepen_llm.fusion.relative.embeddings import embedding_of
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.transformers_api import takes
from tests.models import small

PATHS = specialists.paths()
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def load(place: int, **added: Any) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(PATHS[place], dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(PATHS[place])
    for how, tokens in added.items():
        getattr(tokenizer, how)(tokens)
    return model, tokenizer


def with_pad(place: int) -> tuple[Any, Any]:
    return load(place, add_special_tokens={"pad_token": "[PAD]"})


@pytest.mark.parametrize("padded", [0, 1])
def test_a_pad_token_beyond_the_logits_changes_nothing(padded: int) -> None:
    plain = EnsembleLLM([load(place) for place in range(2)])
    llm = EnsembleLLM([with_pad(place) if place == padded else load(place) for place in range(2)])
    assert llm.members[padded].vocabulary.size == plain.members[padded].vocabulary.size
    assert llm.chat(QUESTION) == plain.chat(QUESTION)
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0, "seed": 3}
    assert llm.generate("The capital of", **options) == plain.generate("The capital of", **options)
    assert "".join(llm.stream("The capital of", **options)) == plain.generate("The capital of", **options).text
    assert llm.score("The capital of France is", " Paris.") == plain.score("The capital of France is", " Paris.")


def test_a_saved_folder_with_tokens_beyond_the_logits_loads(tmp_path: Path) -> None:
    model, tokenizer = with_pad(0)
    tokenizer.add_tokens(["<extra>", "wonderword"])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    llm = EnsembleLLM.from_pretrained([tmp_path, PATHS[1]], device="cpu")
    assert llm.chat(QUESTION).text == EnsembleLLM.from_pretrained(PATHS[:2], device="cpu").chat(QUESTION).text


@pytest.mark.parametrize("kind", ["byte_level_bpe", "sentencepiece_bpe", "wordpiece"])
def test_text_with_an_added_word_is_encoded_without_it(kind: str) -> None:
    model, original = small("llama", kind)
    tokenizer = copy.deepcopy(original)
    tokenizer.add_tokens(["wonderword", "over the"])
    member, plain = LocalMember(model, tokenizer), LocalMember(model, original)
    texts = ["The quick fox jumps over the lazy dog", "a wonderword", "wonderword over the wonderword."]
    for text in texts:
        prompt = member.encode_prompt(text)
        assert max(prompt.ids) < member.vocabulary.size
        context = member.open([member.encode_prompt("The quick")])
        for piece in (" wonder", "word", " over", " the", text):
            context.append([[piece]])
        assert max(context.ids[0]) < member.vocabulary.size
        assert context.logits().isfinite().any()
        if kind == "byte_level_bpe":
            surfaces = plain.vocabulary.surfaces
            assert b"".join(surfaces[id_] or b"" for id_ in prompt.ids).decode() == text


def test_another_members_text_may_spell_an_added_word() -> None:
    model, original = small("llama", "sentencepiece_bpe")
    tokenizer = copy.deepcopy(original)
    tokenizer.add_tokens(["the dog", "fox"])
    llm = EnsembleLLM([small("gpt_neox", "byte_level_bpe"), (model, tokenizer)])
    out = llm.generate("The dog and the fox", max_new_tokens=16, temperature=1.0, seed=0)
    assert len(out.tokens) == 16


def test_a_template_that_writes_a_token_beyond_the_embeddings_names_it() -> None:
    model, tokenizer = load(0, add_special_tokens={"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}"
    llm = EnsembleLLM([(model, tokenizer), load(1)])
    with pytest.raises(PromptError, match=r"token '<\|turn\|>' \(id \d+\), which was added to the tokenizer alone"):
        llm.chat(QUESTION)
    assert llm.generate("The capital of", max_new_tokens=2).tokens


@pytest.mark.skipif(
    not takes(PreTrainedTokenizerBase.apply_chat_template, "sanitize_control_tokens"),
    reason="this version of transformers obeys special tokens in messages, which is a PromptError",
)
def test_a_message_that_spells_a_token_beyond_the_embeddings_stays_plain_text() -> None:
    llm = EnsembleLLM([with_pad(0), load(1)])
    asked = [{"role": "user", "content": "What is [PAD]?"}]
    assert llm.chat(asked, max_new_tokens=4).tokens


def test_ends_of_text_that_no_logit_stands_for_are_not_there() -> None:
    model, tokenizer = load(0)
    own = tokenizer.eos_token_id
    tokenizer.add_special_tokens({"eos_token": "<|finished|>"})
    model.generation_config.eos_token_id = [own, tokenizer.eos_token_id, 10**6]
    member = LocalMember(model, tokenizer)
    assert member.vocabulary.end_of_text == (own,)
    assert EnsembleLLM([member, load(1)]).chat(QUESTION).text == " Paris"


@pytest.mark.parametrize(("rows", "logits"), [(-3, 0), (0, -3), (0, 5), (5, 0)])
def test_embedding_and_head_may_differ_in_width(rows: int, logits: int) -> None:
    model, tokenizer = small("gpt_neox", "byte_level_bpe")
    model, wider = copy.deepcopy(model), len(tokenizer) + 8
    model.resize_token_embeddings(wider)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    embedding.weight.data = embedding.weight.data[: wider - 5 + rows]
    head.weight.data = head.weight.data[: wider - 5 + logits]
    llm = EnsembleLLM([(model, tokenizer), small("llama", "sentencepiece_bpe")])
    assert len(embedding_of(llm.members[0])) == llm.members[0].vocabulary.size == wider - 5 + min(rows, logits)
    assert len(llm.generate("The quick brown fox", max_new_tokens=8, temperature=1.0, seed=1).tokens) == 8


@torch.inference_mode()
def test_what_is_left_are_the_models_own_logits() -> None:
    model, tokenizer = with_pad(0)
    member = LocalMember(model, tokenizer)
    prompt = member.encode_prompt("The capital of")
    own = model(torch.tensor([prompt.ids])).logits[0, -1]
    torch.testing.assert_close(member.open([prompt]).logits()[0], own, atol=1e-4, rtol=1e-4)
