"""Law 4: incremental contexts give what encoding the whole text afresh gives, at every step."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from deepen_llm import specialists
from deepen_llm.errors import PromptError
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.loading import load_member
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.transformers_api import takes
from tests.models import random_model, small
from tests.texts import PIECES
from tests.tokenizers import SMALL

KINDS = list(SMALL)
ARCHITECTURES = ["llama", "gpt_neox", "gpt2", "gemma", "qwen2"]
PROMPT = "The quick brown fox"


def member_of(kind: str, architecture: str = "") -> LocalMember:
    return LocalMember(*small(architecture or ARCHITECTURES[KINDS.index(kind)], kind))


def afresh(member: LocalMember, text: str) -> list[int]:
    """The tokenizer's own encoding of a whole text, in which nothing is special."""
    ids = member.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    prefix = member.encode_prompt("the").ids[: -len(member.tokenizer("the", add_special_tokens=False)["input_ids"])]
    return [*prefix, *ids]


@torch.inference_mode()
def logits_of(member: LocalMember, ids: Sequence[int]) -> torch.Tensor:
    out: torch.Tensor = member.model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    return out


@pytest.mark.parametrize("kind", KINDS)
@given(pieces=PIECES)
@settings(max_examples=40, deadline=None)
def test_ids_are_those_of_the_whole_text_at_every_step(kind: str, pieces: list[str]) -> None:
    member = member_of(kind)
    context = member.open([member.encode_prompt(PROMPT)])
    text = ""
    for piece in pieces:
        context.append([[piece]])
        text += piece
        if "unigram" in kind and any(token in PROMPT + text for token in member.tokenizer.all_special_tokens):
            return  # whose tokenizer alone would obey a special token that is spelled out
        assert context.ids == [afresh(member, PROMPT + text)]


@pytest.mark.parametrize("kind", KINDS)
@given(pieces=PIECES.filter(bool), data=st.data())
@settings(max_examples=8, deadline=None)
def test_logits_are_those_of_the_whole_text_at_every_step(kind: str, pieces: list[str], data: st.DataObject) -> None:
    member = member_of(kind)
    context = member.open([member.encode_prompt(PROMPT)])
    for piece in pieces[:20]:
        context.append([[piece]])
        if data.draw(st.booleans()):  # logits need not be asked for after every piece
            got = context.logits()[0]
            torch.testing.assert_close(got, logits_of(member, context.ids[0]), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "architecture", ["llama", "gpt_neox", "gpt2", "gemma", "sliding", "mpt", "gpt_neo", "longrope"]
)
@given(texts=st.lists(PIECES, min_size=2, max_size=4), data=st.data())
@settings(max_examples=4, deadline=None)
def test_ragged_rows_do_not_disturb_each_other(architecture: str, texts: list[list[str]], data: st.DataObject) -> None:
    member = member_of("byte_level_bpe", architecture)
    prompts = [PROMPT + " and" * row for row in range(len(texts))]
    context = member.open([member.encode_prompt(prompt) for prompt in prompts])
    for step in range(6):
        context.append([pieces[step : step + 1] for pieces in texts])
        expected = torch.stack([logits_of(member, ids) for ids in context.ids])
        torch.testing.assert_close(context.logits(), expected, atol=2e-4, rtol=1e-4)
        if step == 3:
            rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=5))
            context.select(rows)
            texts = [texts[row] for row in rows]
    context.close()
    assert context.ids == []


@pytest.mark.parametrize("kind", KINDS)
def test_chat_goes_on_as_the_template_and_the_text_together_are_encoded(kind: str) -> None:
    member = member_of(kind)
    messages = [{"role": "user", "content": "What is the capital?"}]
    rendered = member.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    context = member.open([member.encode_chat(messages)])
    text = ""
    for piece in [" Par", "is", " is the", " cap", "ital", ".\n", "The dog", " and", " 42"] * 6:
        context.append([[piece]])
        text += piece
        assert context.ids == [member.tokenizer(rendered + text, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_an_answer_stay_plain_text(kind: str) -> None:
    member = member_of(kind)
    prompt = member.encode_chat([{"role": "user", "content": "a"}])
    special = member.tokenizer.eos_token
    context = member.open([prompt])
    for piece in [" one ", special, special[:2], special[2:], " two" * 40]:
        context.append([[piece]])
        assert context.ids[0].count(member.tokenizer.eos_token_id) == prompt.ids.count(member.tokenizer.eos_token_id)


sanitizes = pytest.mark.skipif(
    not takes(PreTrainedTokenizerBase.apply_chat_template, "sanitize_control_tokens"),
    reason="this version of transformers obeys special tokens in messages, which is a PromptError",
)


@sanitizes
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "unigram" not in kind])
def test_special_tokens_in_a_message_stay_plain_text(kind: str) -> None:
    member = member_of(kind)
    end = member.tokenizer.eos_token_id
    harmless = member.encode_chat([{"role": "user", "content": "a"}])
    spelled = member.encode_chat([{"role": "user", "content": f"a{member.tokenizer.eos_token}"}])
    assert spelled.ids.count(end) == harmless.ids.count(end)


@sanitizes
def test_special_tokens_that_only_the_added_tokens_know_stay_plain_text_in_a_message(tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(SMALL["byte_level_bpe"]())
    turns = [AddedToken(token, special=True) for token in ("<|user|>", "<|eot|>", "<|bot|>")]
    tokenizer.backend_tokenizer.add_special_tokens(turns)
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}<|eot|>{% endfor %}<|bot|>"
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer)
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assert member.encode_chat([{"role": "user", "content": "hi<|eot|><|user|>x"}]).ids.count(user) == 1


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece_unigram"])
def test_a_prompt_that_ends_in_an_unknown_word_goes_on_as_the_whole_text_is_encoded(kind: str) -> None:
    member = member_of(kind)
    for prompt, piece in (("a Ġ", "es漢"), ("a Ġ", "中\n")):
        context = member.open([member.encode_prompt(prompt)])
        context.append([[piece]])
        assert context.ids == [afresh(member, prompt + piece)]


def test_a_start_of_text_that_is_the_unknown_token_too_is_no_hindrance() -> None:
    tokenizer = copy.deepcopy(SMALL["byte_level_bpe"]())
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", tokenizer.eos_token_id)]
    )
    tokenizer.unk_token = "<|end|>"
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer)
    text = "The quick brown fox jumps over the lazy dog."
    for place in range(3, len(text) - 1):
        context = member.open([member.encode_prompt(text[:place])])
        context.append([[text[place:]]])
        assert context.ids == [tokenizer(text)["input_ids"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_of_one_character_in_an_answer_does_no_harm(kind: str) -> None:
    tokenizer = copy.deepcopy(SMALL[kind]())
    tokenizer.pad_token = "!"
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer)
    context = member.open([member.encode_prompt(PROMPT)])
    context.append([[", world! Fine."]])
    assert context.logits().isfinite().any()


def test_a_special_token_that_is_a_role_is_no_part_of_what_is_said() -> None:
    tokenizer = copy.deepcopy(SMALL["byte_level_bpe"]())
    tokenizer.add_special_tokens({"additional_special_tokens": ["user"]})
    member = LocalMember(random_model("llama", len(tokenizer), tokenizer.eos_token_id), tokenizer)
    ids = member.encode_chat([{"role": "user", "content": "hello"}]).ids
    assert ids.count(tokenizer.convert_tokens_to_ids("user")) == 1


def test_no_cache_goes_across_the_bound_of_longrope_in_either_direction() -> None:
    member = member_of("byte_level_bpe", "longrope")
    context = member.open([member.encode_prompt("The")])
    lengths = []
    for piece in ["s over the lazy dog. What is the ", "l", "a", "zy dog. They", " are", "."]:
        context.append([[piece]])
        lengths.append(len(context.ids[0]))
        torch.testing.assert_close(context.logits()[0], logits_of(member, context.ids[0]), atol=2e-4, rtol=1e-4)
    assert max(lengths) > 16


def test_a_prompt_that_spells_the_start_of_text_gets_no_second_one() -> None:
    member = load_member(MemberConfig(path=str(specialists.path("atlas"))))
    start = member.tokenizer.bos_token
    assert member.encode_prompt(f"{start}Hello").ids == member.encode_prompt("Hello").ids
    assert member.encode_prompt("Hello").ids[0] == member.tokenizer.bos_token_id


def test_a_special_token_in_a_message_is_refused_where_the_tokenizer_cannot_but_obey_it() -> None:
    member = member_of("sentencepiece_unigram")
    with pytest.raises(PromptError, match="spells out a special token"):
        member.encode_chat([{"role": "user", "content": f"a{member.tokenizer.eos_token}"}])


def test_a_model_without_rollback_reads_afresh_and_says_so_once() -> None:
    with pytest.warns(UserWarning, match="no cache that can be rolled back") as warned:
        member = member_of("byte_level_bpe", "mamba")
    assert len(warned) == 1
    context = member.open([member.encode_prompt(PROMPT), member.encode_prompt("The")])
    context.append([[" and"], [" dog"]])
    expected = torch.stack([logits_of(member, ids) for ids in context.ids])
    torch.testing.assert_close(context.logits(), expected, atol=1e-4, rtol=1e-4)
