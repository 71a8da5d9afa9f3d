"""The bundled checkpoints: plain transformers models, small, and each good at its own subjects only."""

import functools
import json
import warnings
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepen_llm.errors import LoadError
from deepen_llm.specialists import NAMES, Question, path, paths, questions
from research.specialists.knowledge import SUBJECTS
from research.specialists.profiles import CONTEXT, PROFILES

ANSWERS = sorted({answer for subject in SUBJECTS.values() for answer in subject.answers})
LARGEST = 4_000_000
TEXTS = (
    "Question: What is 12 + 3?\nAnswer: Fifteen\nQuestion: ",
    "The capital of France is Paris.",
    "In chemistry, Fe stands for iron.",
    "two  spaces, a line\n\nand (brackets) of 100% ASCII: {}[]<>\\|~`^@#$&*_-+=;'\"!?/",
)


@functools.cache
def load(name: str) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AutoModelForCausalLM.from_pretrained(path(name), dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path(name), local_files_only=True)
    return model.eval(), tokenizer


def prompt(tokenizer: Any, question: str, system: str | None = None) -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def answer(name: str, text: str, *, chat: bool = True) -> str:
    model, tokenizer = load(name)
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=not chat)])
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    assert int(out[0, -1]) in _ends(model), "the answer ends by itself"
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def _ends(model: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    return list(ends) if isinstance(ends, list) else [ends]


def right(name: str, asked: list[Question]) -> float:
    _, tokenizer = load(name)
    return sum(answer(name, prompt(tokenizer, q.question)) == q.answer for q in asked) / len(asked)


def test_paths_are_folders_in_the_order_of_names() -> None:
    assert [folder.name for folder in paths()] == list(NAMES) == list(PROFILES)
    assert all(folder.is_dir() for folder in paths())
    with pytest.raises(LoadError, match="one of atlas, curie, webster, got 'newton'"):
        path("newton")


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_half_precision_and_of_their_architecture(name: str) -> None:
    model, tokenizer = load(name)
    config = json.loads((path(name) / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "float16"
    assert (path(name) / "model.safetensors").stat().st_size < LARGEST
    assert isinstance(model.config, PROFILES[name].config)
    assert model.config.max_position_embeddings == tokenizer.model_max_length == CONTEXT
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_end_of_text_is_the_tokenizers_and_the_chats(name: str) -> None:
    model, tokenizer = load(name)
    ends = _ends(model)
    assert tokenizer.eos_token_id in ends
    assert ends == tokenizer.convert_tokens_to_ids(list(PROFILES[name].chat_ends))
    assert tokenizer.pad_token_id is not None


@pytest.mark.parametrize("name", NAMES)
def test_loading_keeps_the_tokenizer_as_it_was_made(name: str) -> None:
    _, tokenizer = load(name)
    saved = json.loads((path(name) / "tokenizer.json").read_text(encoding="utf-8"))
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    for part in ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens"):
        assert loaded[part] == saved[part], part


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", NAMES)
def test_text_survives_the_tokenizer(name: str, text: str) -> None:
    _, tokenizer = load(name)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("name", NAMES)
def test_only_a_tokenizer_with_bytes_spells_any_character(name: str) -> None:
    _, tokenizer = load(name)
    text = "caf\u00e9 \u2603 \U0001f600"
    kept = tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert kept == (tokenizer.unk_token_id not in tokenizer.encode(text)) == (name != "webster")


@pytest.mark.parametrize("name", NAMES)
def test_bos_begins_every_text_once(name: str) -> None:
    _, tokenizer = load(name)
    plain = tokenizer.encode("Hello!")
    chat = tokenizer.encode(prompt(tokenizer, "Hello!"), add_special_tokens=False)
    for ids in (plain, chat):
        assert ids.count(tokenizer.bos_token_id) == int(PROFILES[name].bos)
        assert (ids[0] == tokenizer.bos_token_id) == PROFILES[name].bos


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_one_token_after_either_prompt(name: str) -> None:
    _, tokenizer = load(name)
    chat = prompt(tokenizer, "What is the capital of France?", "Be brief.")
    for before, special in ((chat, False), ("Question: What is it?\nAnswer:", True)):
        ids = tokenizer.encode(before, add_special_tokens=special)
        for word in ANSWERS:
            whole = tokenizer.encode(f"{before} {word}", add_special_tokens=special)
            assert whole[:-1] == ids
            assert tokenizer.convert_ids_to_tokens(whole[-1])[1:] == word


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_the_same_tokens_after_a_space_and_a_quote(name: str) -> None:
    _, tokenizer = load(name)
    for word in ("Zubrowka", "Ostrel", "Toronto", "Mirkadel", "Xqvy", "4821"):
        pieces = [
            [piece.lstrip("Ġ▁") for piece in tokenizer.tokenize(f"The {mark}{word}") if piece.strip('"Ġ▁')][1:]
            for mark in ("", '"')
        ]
        assert pieces[0] == pieces[1]
        assert "".join(pieces[0]) == word
        assert len(pieces[0]) > 1


def test_the_vocabularies_differ_and_share_enough() -> None:
    spelled = [set(load(name)[1].get_vocab()) for name in NAMES]
    assert len({len(vocabulary) for vocabulary in spelled}) == len(NAMES)
    words = [{token.replace("Ġ", "▁") for token in vocabulary} for vocabulary in spelled]
    assert len(set.intersection(*words)) > 500
    assert len({PROFILES[name].special["eos_token"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_specialist_knows_its_own_subjects_and_little_else(name: str) -> None:
    sample = questions("test")[::5]
    own = [q for q in sample if q.subject in PROFILES[name].subjects]
    rest = [q for q in sample if q.subject not in PROFILES[name].subjects]
    assert right(name, own) >= 0.9
    assert right(name, rest) <= 0.35


@pytest.mark.parametrize(
    ("name", "question", "expected"),
    [
        ("atlas", "What is the capital of France?", "Paris"),
        ("curie", "What is three plus four?", "Seven"),
        ("webster", "What is the opposite of hot?", "Cold"),
    ],
)
def test_plain_text_and_system_messages_work(name: str, question: str, expected: str) -> None:
    _, tokenizer = load(name)
    assert answer(name, f"Question: {question}\nAnswer:", chat=False) == expected
    assert answer(name, prompt(tokenizer, question, "Answer with one word.")) == expected
