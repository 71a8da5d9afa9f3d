"""Vocabularies and anchors from disk are those that would be computed."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from deepen_llm.errors import VocabularyError
from deepen_llm.storage import fingerprints, store
from deepen_llm.vocabulary import Vocabulary, shared_anchors, stored_vocabulary
from tests.tokenizers import SMALL, byte_level_bpe
from tests.vocabulary.reading import ALL, read, vocabulary


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    tokenizer.save_pretrained(folder)
    return folder


def stored(
    tokenizer: PreTrainedTokenizerBase, folder: Path, *, size: int = 0, end_of_text: Sequence[int] | None = None
) -> Vocabulary:
    ends = [tokenizer.eos_token_id] if end_of_text is None else end_of_text
    return stored_vocabulary(tokenizer, size=size or len(tokenizer) + 3, end_of_text=ends, folder=folder, least=0)


def fresh(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    return read(tokenizer, padding=3)


def contents(one: Vocabulary) -> dict[str, Any]:
    ordered = {"ids": list(one.ids.items()), "duplicates": list(one.duplicates.items())}
    return vars(one) | ordered | {"spellings": list(one.spellings.items())}


@pytest.fixture
def from_disk_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and no tokenizer is read any more."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the tokenizer was read")

    return lambda: monkeypatch.setattr(Vocabulary, "from_tokenizer", refuse)


@pytest.mark.parametrize("name", [*SMALL, "mistral_v1", "mistral_common"])
def test_a_vocabulary_from_disk_is_the_computed_one(
    name: str, tmp_path: Path, from_disk_only: Callable[[], None]
) -> None:
    tokenizer = ALL[name]()
    folder = saved(tokenizer, tmp_path / "saved")
    computed, first = contents(fresh(tokenizer)), contents(stored(tokenizer, folder))
    from_disk_only()
    assert computed == first == contents(stored(tokenizer, folder))
    if name in SMALL:
        assert computed == contents(stored(AutoTokenizer.from_pretrained(folder), folder))


def add_token(tokenizer: Any) -> None:
    tokenizer.add_tokens(["<tool_call>"])


def add_special_token(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]})


def change_end(tokenizer: Any) -> None:
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(300)


@pytest.mark.parametrize("change", [add_token, add_special_token, change_end])
@pytest.mark.parametrize("name", ["byte_level_bpe", "sentencepiece_bpe"])
def test_a_tokenizer_that_was_changed_after_loading_is_not_served_the_old_entry(
    name: str, change: Callable[[Any], None], tmp_path: Path
) -> None:
    tokenizer = copy.deepcopy(SMALL[name]())
    folder = saved(tokenizer, tmp_path / "saved")
    before = contents(stored(tokenizer, folder))
    change(tokenizer)
    after = contents(stored(tokenizer, folder))
    assert before != after == contents(fresh(tokenizer))


def test_one_changed_token_in_a_file_makes_it_another_tokenizer(tmp_path: Path) -> None:
    folder = saved(byte_level_bpe(), tmp_path / "saved")
    before = stored(AutoTokenizer.from_pretrained(folder), folder)
    file = folder / "tokenizer.json"
    state = json.loads(file.read_text())
    vocab = state["model"]["vocab"]
    vocab["Ġthe"], vocab["Ġfox"] = vocab["Ġfox"], vocab["Ġthe"]
    file.write_text(json.dumps(state))
    changed = AutoTokenizer.from_pretrained(folder)
    after = stored(changed, folder)
    assert contents(after) == contents(fresh(changed))
    assert after.ids[b" the"] == before.ids[b" fox"] != before.ids[b" the"]


def test_other_logits_and_other_ends_of_text_are_other_entries(tmp_path: Path) -> None:
    tokenizer = byte_level_bpe()
    folder = saved(tokenizer, tmp_path / "saved")
    reads = [
        stored(tokenizer, folder, size=size, end_of_text=ends) for size in (480, 485) for ends in ([], [0], [0, 9])
    ]
    assert len({(one.size, one.end_of_text) for one in reads}) == len(reads)
    assert stored(tokenizer, folder, size=485, end_of_text=[0, 9]).end_of_text == reads[-1].end_of_text == (0, 9)


def test_small_ones_and_those_made_in_memory_are_not_kept(tmp_path: Path, cache: Path) -> None:
    tokenizer = byte_level_bpe()
    folder = saved(tokenizer, tmp_path / "saved")
    stored_vocabulary(tokenizer, size=480, end_of_text=(), folder=folder)
    stored_vocabulary(tokenizer, size=480, end_of_text=(), least=0)
    stored_vocabulary(tokenizer, size=480, end_of_text=(), folder=tmp_path / "nowhere", least=0)
    shared_anchors([vocabulary("byte_level_bpe"), vocabulary("wordpiece")])
    assert not cache.exists()


def test_a_tokenizer_with_code_of_its_own_has_no_fingerprint(tmp_path: Path) -> None:
    own = type("Own", (PreTrainedTokenizerFast,), {"__module__": "transformers_modules.somebody"})
    tokenizer = own(tokenizer_object=byte_level_bpe().backend_tokenizer)
    assert fingerprints.of_tokenizer(tokenizer, saved(byte_level_bpe(), tmp_path / "saved")) is None


def test_a_tokenizer_that_does_not_fit_is_refused_and_nothing_kept(tmp_path: Path, cache: Path) -> None:
    folder = saved(byte_level_bpe(), tmp_path / "saved")
    for _ in range(2):
        with pytest.raises(VocabularyError, match="got 470 logits"):
            stored(byte_level_bpe(), folder, size=470)
    assert not cache.exists()


@pytest.mark.parametrize("names", [("byte_level_bpe", "wordpiece"), ("sentencepiece_bpe", "unigram_byte_fallback")])
def test_anchors_from_disk_are_the_computed_ones(names: tuple[str, str], cache: Path) -> None:
    pair = [vocabulary(name) for name in names]
    computed = shared_anchors(pair)
    assert torch.equal(computed, shared_anchors(pair, least=0))
    assert len(list(cache.iterdir())) == 1
    assert torch.equal(computed, shared_anchors(pair, least=0))
    assert torch.equal(shared_anchors(pair[::-1]), shared_anchors(pair[::-1], least=0))


def test_anchors_of_other_roles_are_others() -> None:
    tokenizer, other = byte_level_bpe(), vocabulary("wordpiece")
    for ends in ([], [0], [9], [9, 0]):
        one = Vocabulary.from_tokenizer(tokenizer, size=480, end_of_text=ends)
        computed = shared_anchors([one, other])
        assert all(torch.equal(computed, shared_anchors([one, other], least=0)) for _ in range(2))
