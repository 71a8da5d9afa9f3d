"""A surface is what a token adds in the middle of a text: checked on every token, and on arbitrary texts."""

import copy
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import BertGenerationTokenizer, ClvpTokenizer
from transformers.tokenization_mistral_common import MistralCommonBackend

from deepen_llm.vocabulary.rules import all_byte_level, byte_level
from tests.tokenizers import SMALL, TEXTS, UNKNOWN, byte_level_bpe, folder_with, sentencepiece_bpe, wordpiece
from tests.vocabulary.reading import (
    ALL,
    BYTE_FALLBACK,
    BYTE_LEVEL,
    LOSSLESS,
    joined,
    read,
    vocabulary,
)

PREFIX_SPACE = {"sentencepiece_bpe", "sentencepiece_unigram", "mistral_v1", "mistral_v3", "wordpiece"}
READABLE = re.compile(" ?[a-z]+")


def texts_of(surfaces: tuple[bytes | None, ...]) -> dict[int, str]:
    """The surfaces that are text by themselves."""
    texts = {id_: surface.decode(errors="ignore") for id_, surface in enumerate(surfaces) if surface}
    return {id_: text for id_, text in texts.items() if text.encode() == surfaces[id_]}


@cache
def emitted(name: str) -> list[int]:
    """The ids of one token for each surface."""
    return sorted(vocabulary(name).ids.values())


def decode_all(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    if hasattr(tokenizer, "backend_tokenizer"):
        decoded: list[str] = tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=False)
        return decoded
    return [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in rows]


@pytest.mark.parametrize("name", ALL)
def test_every_token_adds_its_surface_between_two_words(name: str) -> None:
    texts = texts_of(vocabulary(name).surfaces)
    word = next(id_ for id_, text in texts.items() if READABLE.fullmatch(text))
    start, *decoded = decode_all(ALL[name](), [[word], *([word, id_, word] for id_ in texts)])
    wrong = {
        id_: (text, got)
        for (id_, text), got in zip(texts.items(), decoded, strict=True)
        if got != start + text + texts[word]
    }
    if name == "wordpiece":  # decoding puts a space before a Chinese character, encoding needs none
        assert {len(text) for text, _ in wrong.values()} == {1}
        assert all(
            "\u3400" <= text <= "\u9fff" and got == start + f" {text}" + texts[word] for text, got in wrong.values()
        )
    else:
        assert not wrong


@pytest.mark.parametrize("name", BYTE_LEVEL)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_byte_level_sequences_decode_to_the_joined_bytes(name: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(emitted(name)), max_size=12))
    assert decode_all(ALL[name](), [ids]) == [joined(name, ids).decode(errors="replace")]


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=12))
def test_a_text_spelled_byte_by_byte_decodes_to_itself(name: str, text: str) -> None:
    word, *spelled = (vocabulary(name).ids[bytes([byte])] for byte in ("x" + text).encode())
    assert decode_all(ALL[name](), [[word, *spelled]]) == ["x" + text]


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=50, deadline=None)
@given(text=st.one_of(st.text(), st.text(st.sampled_from(" \n\t.aZé中😀▂0")), st.sampled_from(TEXTS)))
def test_surfaces_of_an_encoding_join_to_the_text(name: str, text: str) -> None:
    """But for the space that SentencePiece may put before a text, and `▁`, which is a space to it."""
    assume(text and "▁" not in text and "<" not in text)
    expected = text.encode()
    got = joined(name, ALL[name]().encode(text, add_special_tokens=False))
    assert got == expected or (name in PREFIX_SPACE and got == b" " + expected)


@pytest.mark.parametrize("name", ["sentencepiece_unigram", "wordpiece"])
@pytest.mark.parametrize("text", TEXTS[:2])
def test_surfaces_of_known_words_join_to_the_text(name: str, text: str) -> None:
    got = joined(name, ALL[name]().encode(text, add_special_tokens=False)).decode()
    if name == "wordpiece":  # it forgets where spaces stood
        assert got.replace(" ", "") == text.replace(" ", "")
        assert got.startswith((" The quick", " What is the"))
    else:
        assert got == " " + text


@pytest.mark.parametrize("name", BYTE_FALLBACK)
def test_byte_pieces_are_their_bytes(name: str) -> None:
    tokenizer = ALL[name]()
    pieces = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    assert joined(name, pieces) == bytes(range(256))


@pytest.mark.parametrize(
    ("token", "surface"),
    [("Ġthe", b" the"), ("Ċ", b"\n"), ("â", b"\xe2"), ("a b", b"a b"), ("▁", "▁".encode())],
)
def test_byte_level_reads_characters_outside_the_table_literally(token: str, surface: bytes) -> None:
    assert byte_level(token) == surface


@given(tokens=st.lists(st.text(st.sampled_from("aĠĊâé ▁0"), max_size=4)), repeated=st.sampled_from([1, 5000]))
@settings(max_examples=50, deadline=None)
def test_byte_level_reads_many_tokens_as_one_by_one(tokens: list[str], repeated: int) -> None:
    assert all_byte_level(tokens * repeated) == list(map(byte_level, tokens)) * repeated


@pytest.mark.parametrize("content", ["<tool_call>", "naïve!", "a  b", "\n\n\n", "▁x!"])
@pytest.mark.parametrize("build", [byte_level_bpe, sentencepiece_bpe, wordpiece])
def test_added_tokens_are_literal_and_special_ones_have_no_surface(build: Any, content: str) -> None:
    tokenizer = copy.deepcopy(build())
    tokenizer.add_tokens([content])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]})
    new = read(tokenizer)
    expected = content.replace("▁", " ") if build is sentencepiece_bpe else content
    assert new.surfaces[tokenizer.convert_tokens_to_ids(content)] == expected.encode()
    special = tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert new.surfaces[special] is None
    assert special in new.special


@pytest.mark.parametrize("name", SMALL)
def test_marking_a_models_own_tokens_as_added_changes_no_surface(name: str) -> None:
    tokenizer = copy.deepcopy(SMALL[name]())
    own = ["Ġthe", "▁the", "▁x", "<0x41>", "##e", "the"]
    tokenizer.add_tokens([token for token in own if token in tokenizer.get_vocab()])
    assert read(tokenizer).surfaces == vocabulary(name).surfaces


def test_a_python_tokenizer_around_sentencepiece_reads_like_the_converted_one() -> None:
    folder = folder_with("tokenizer.model.v1", "spiece.model")
    python = BertGenerationTokenizer(f"{folder}/spiece.model", pad_token=UNKNOWN, sep_token=UNKNOWN)
    fast = vocabulary("mistral_v1")
    assert read(python).surfaces[: fast.size] == fast.surfaces


def test_mistrals_own_sentencepiece_tokenizer_reads_like_the_converted_one() -> None:
    file = "mistral_instruct_tokenizer_240323.model.v3"
    own = MistralCommonBackend(f"{folder_with(file, file)}/{file}")
    fast = vocabulary("mistral_v3")
    surfaces = [None if id_ in fast.special else surface for id_, surface in enumerate(read(own).surfaces)]
    assert tuple(surfaces) == fast.surfaces  # `[REFERENCE_DOC_0]` and its like are not special to Mistral's own


def test_a_python_tokenizer_with_a_byte_table_reads_like_the_converted_one(tmp_path: Any) -> None:
    byte_level_bpe().backend_tokenizer.model.save(str(tmp_path))
    files = (str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    names = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "<|end|>")
    assert read(ClvpTokenizer(*files, **names)).surfaces == vocabulary("byte_level_bpe").surfaces
