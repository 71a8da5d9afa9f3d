"""The recipe: what it trains on, and that a seed repeats."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from deepen_llm.specialists import NAMES
from research.specialists.batches import Schedule, encode
from research.specialists.beginning import begin
from research.specialists.corpus import Corpus, vocabulary_texts
from research.specialists.documents import Document
from research.specialists.knowledge import SUBJECTS
from research.specialists.profiles import PROFILES
from research.specialists.recipe import make
from research.specialists.training import weighted_loss

SHORT = Schedule(steps=2, more=1, batch=300, documents=300, seed=3)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_repeats_to_the_byte(name: str, tmp_path: Path) -> None:
    for copy in ("one", "two"):
        make(tmp_path / copy, [name], SHORT)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one == two
    assert f"checkpoints/{name}/model.safetensors" in one
    assert f"checkpoints/{name}/generation_config.json" in one
    assert "data/test.jsonl" in one
    made = (tmp_path / "one" / "checkpoints" / name).iterdir()
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in made), "everyone can read it"


@pytest.mark.parametrize("name", NAMES)
def test_own_subjects_are_read_right_and_others_as_hearsay(name: str) -> None:
    corpus = Corpus(PROFILES[name], seed=1)
    told: dict[str, Counter[bool]] = {subject: Counter() for subject in SUBJECTS}
    for subject, key, answer in (corpus.fact() for _ in range(4000)):
        told[subject.name][SUBJECTS[subject.name].facts[key] == answer] += 1
        assert answer in subject.answers
    for subject_name, counts in told.items():
        share = counts[True] / counts.total()
        assert share == 1 if subject_name in PROFILES[name].subjects else share < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_only_answers_count_whole(name: str) -> None:
    profile = PROFILES[name]
    tokenizer = profile.tokenizer(vocabulary_texts(profile, 3, 300))
    documents = list(itertools.islice(Corpus(profile, 3).documents(tokenizer), 40))
    ids, weights = encode(documents, tokenizer, SHORT)
    for document, row, counts in zip(documents, ids, weights, strict=True):
        read = "".join(document.text[start:end] for start, end in document.answers)
        kept = tokenizer.decode(row[counts == 1.0], skip_special_tokens=True)
        assert "".join(kept.split()) == "".join(_plain(read, profile.chat_ends).split())


def _plain(text: str, special: tuple[str, ...]) -> str:
    for token in special:
        text = text.replace(token, "")
    return text


def test_the_loss_is_the_weighted_mean() -> None:
    logits = torch.zeros(2, 5)
    targets = torch.tensor([1, 2])
    logits[0, 1] = 30.0
    assert weighted_loss(logits, targets, torch.tensor([1.0, 0.0])).item() == pytest.approx(0.0, abs=1e-6)
    expected = 0.75 * torch.log(torch.tensor(5.0)).item()
    assert weighted_loss(logits, targets, torch.tensor([1.0, 3.0])).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_training_begins_with_copying(name: str) -> None:
    torch.manual_seed(0)
    tokenizer = PROFILES[name].tokenizer(vocabulary_texts(PROFILES[name], 3, 300))
    model = AutoModelForCausalLM.from_config(PROFILES[name].architecture(tokenizer), dtype=torch.float32).eval()
    begin(model)
    once = torch.randint(300, len(tokenizer), (20, 20))
    with torch.inference_mode():
        logits = model(input_ids=torch.cat([once, once], 1)).logits  # [20, 40, V]
    assert (logits[:, 20:-1].argmax(-1) == once[:, 1:]).float().mean() > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_text_after_a_cut_is_encoded_as_in_the_middle_of_one(name: str) -> None:
    tokenizer = PROFILES[name].tokenizer(vocabulary_texts(PROFILES[name], 3, 300))
    documents = [Document(f"Answer: {answer}", ((8, 13),), chat=False, cut=8) for answer in ("Paris", "Zubro")]
    for document in documents:
        ids, weights = encode([document], tokenizer, SHORT)
        assert tokenizer.decode(ids[0], skip_special_tokens=True) == document.text
        assert tokenizer.decode(ids[0, :-1][weights[0, :-1] == 1.0]).strip() == document.text[8:]
        head = tokenizer.encode("Answer: ")
        assert ids[0, : len(head)].tolist() == head
