"""What a vocabulary says besides surfaces: roles, padding, duplicates, fingerprints, and what it refuses."""

import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary import Vocabulary
from tests.tokenizers import (
    CHAT_TEMPLATE,
    SMALL,
    UNKNOWN,
    byte_level_bpe,
    sentencepiece_bpe,
    wordpiece,
)
from tests.vocabulary.reading import ALL, read, vocabulary


def with_decoder(tokenizer: Any, decoder: dict[str, Any] | None) -> PreTrainedTokenizerFast:
    state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"decoder": decoder}
    changed = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(tokenizer_object=changed, eos_token=tokenizer.eos_token)


def replace(pattern: dict[str, str]) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": " "}


@pytest.mark.parametrize("name", ALL)
def test_ids_go_back_to_their_surfaces(name: str) -> None:
    read_ = vocabulary(name)
    assert all(read_.surfaces[id_] == surface for surface, id_ in read_.ids.items())
    assert read_.ids.keys() == {surface for surface in read_.surfaces if surface is not None}
    assert read_.size == read_.tokenizer_size == len(ALL[name]())


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
def test_logits_wider_than_the_tokenizer_are_padding(build: Any) -> None:
    plain, padded = read(build()), read(build(), padding=7)
    assert padded.size == plain.size + 7
    assert padded.tokenizer_size == plain.tokenizer_size == plain.size
    assert padded.surfaces == plain.surfaces + (None,) * 7
    assert padded.ids == plain.ids
    assert padded.fingerprint == plain.fingerprint


def test_unused_ids_have_no_surface() -> None:
    vocab = {"a": 0, "b": 5, "▁": 2, UNKNOWN: 3}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token=UNKNOWN))
    tokenizer.decoder = decoders.Metaspace()
    read_ = Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer), size=6, end_of_text=())
    assert read_.surfaces == (b"a", None, b" ", None, None, b"b")
    assert read_.special == {3}  # the unknown token, by the model's own word


def test_end_of_text_ids_begin_with_the_tokenizers_own_and_have_no_surface() -> None:
    tokenizer = sentencepiece_bpe()
    newline, own = tokenizer.convert_tokens_to_ids("\n"), tokenizer.eos_token_id
    read_ = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[newline, own, newline])
    assert read_.end_of_text == (own, newline)
    assert read_.surfaces[newline] is None
    assert {own, newline} <= read_.special
    assert read_.ids[b"\n"] == tokenizer.convert_tokens_to_ids("<0x0A>")


def test_no_end_of_text_id_is_allowed() -> None:
    tokenizer = byte_level_bpe()
    assert Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=()).end_of_text == ()


@pytest.mark.parametrize("name", ["sentencepiece_bpe", "unigram_byte_fallback", "mistral_v1", "mistral_v3"])
def test_a_normal_token_beats_its_byte_piece(name: str) -> None:
    ids = [vocabulary(name).ids[surface] for surface in (b"a", b" ", b"\xff")]
    tokens = ALL[name]().convert_ids_to_tokens(ids)
    assert tokens == ["a", "▁", "<0xFF>"]


def test_of_two_equal_surfaces_the_tokenizer_emits_one() -> None:
    tokenizer = copy.deepcopy(byte_level_bpe())
    tokenizer.add_tokens(["\n"])
    assert read(tokenizer).ids[b"\n"] == tokenizer.convert_tokens_to_ids("\n") == len(tokenizer) - 1
    pieces = wordpiece()
    assert vocabulary("wordpiece").ids["国".encode()] == pieces.convert_tokens_to_ids("国")
    assert vocabulary("wordpiece").ids[b","] == pieces.convert_tokens_to_ids(",")


def test_equal_fingerprints_are_the_same_vocabulary() -> None:
    names = [*SMALL, "mistral_v1", "mistral_v3", "tekken"]
    assert len({vocabulary(name).fingerprint for name in names}) == len(names)
    assert vocabulary("tekken").fingerprint == vocabulary("mistral_common").fingerprint
    tokenizer = byte_level_bpe()
    assert read(tokenizer).fingerprint == vocabulary("byte_level_bpe").fingerprint
    without_end = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=())
    assert without_end.fingerprint == vocabulary("byte_level_bpe").fingerprint  # a role is no matter of ids


def test_a_vocabulary_crosses_process_boundaries() -> None:
    original = vocabulary("wordpiece")
    copied = pickle.loads(pickle.dumps(original))  # noqa: S301
    assert vars(copied) == vars(original)


def test_reading_leaves_the_tokenizer_as_it_was() -> None:
    before = byte_level_bpe().backend_tokenizer.to_str()
    read(byte_level_bpe())
    assert byte_level_bpe().backend_tokenizer.to_str() == before
    assert byte_level_bpe().chat_template == CHAT_TEMPLATE


def test_a_tokenizer_beyond_its_models_logits_is_refused() -> None:
    tokenizer = byte_level_bpe()
    with pytest.raises(VocabularyError, match=r"all ids of .*, 0 to 479, got 470 logits"):
        Vocabulary.from_tokenizer(tokenizer, size=470, end_of_text=())


@pytest.mark.parametrize("id_", [-1, 480, 485])
def test_an_end_of_text_id_outside_the_tokenizer_is_refused(id_: int) -> None:
    with pytest.raises(VocabularyError, match=rf"0 to 479, got \[{id_}\]"):
        Vocabulary.from_tokenizer(byte_level_bpe(), size=490, end_of_text=[0, id_])


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {"type": "BPEDecoder", "suffix": "</w>"},
        {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
        {"type": "Sequence", "decoders": [replace({"Regex": "[▁_]"}), {"type": "Fuse"}]},
    ],
)
def test_an_unknown_decoder_is_refused(decoder: dict[str, Any] | None) -> None:
    with pytest.raises(VocabularyError, match=r"(?s)expected a tokenizer of a known kind.*Hint: "):
        read(with_decoder(sentencepiece_bpe(), decoder))


def test_a_python_tokenizer_of_unknown_kind_is_refused() -> None:
    with pytest.raises(VocabularyError, match=r"known kind \(byte-level BPE.*\), got ByT5Tokenizer"):
        read(ByT5Tokenizer())


def test_a_decoder_that_does_more_than_its_kinds_is_refused() -> None:
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}  # of every token: no Fuse before it
    decoder = {"type": "Sequence", "decoders": [replace({"String": "▁"}), {"type": "ByteFallback"}, strip]}
    with pytest.raises(VocabularyError, match=r"expected the SentencePiece tokenizer .* to decode token"):
        read(with_decoder(sentencepiece_bpe(), decoder))


def test_the_suites_small_tokenizers_are_the_same_in_every_process() -> None:
    code = "from tests.vocabulary.reading import *; print(*(vocabulary(name).fingerprint for name in SMALL))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert other.stdout.split() == [vocabulary(name).fingerprint for name in SMALL]
