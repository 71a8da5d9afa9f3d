"""Anchors: how many tokens real vocabularies share, and that every column is one token."""

from functools import cache
from itertools import combinations, permutations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from deepen_llm.errors import VocabularyError
from deepen_llm.vocabulary import Vocabulary, shared_anchors
from tests.tokenizers import REAL, SMALL, UNKNOWN, byte_level_bpe, wordpiece
from tests.vocabulary.reading import ALL, read, vocabulary

# Equal strings after `Ġ→▁`, without special tokens; equal surfaces, without the end of text.
SHARED = {
    ("cl100k", "o200k"): (85_033, 85_033),
    ("cl100k", "mistral_v1"): (24_758, 26_777),
    ("cl100k", "mistral_v3"): (24_758, 26_777),
    ("cl100k", "tekken"): (56_557, 56_557),
    ("o200k", "mistral_v1"): (25_095, 29_864),
    ("o200k", "mistral_v3"): (25_095, 29_864),
    ("o200k", "tekken"): (100_352, 100_352),
    ("mistral_v1", "mistral_v3"): (31_997, 31_997),
    ("mistral_v1", "tekken"): (24_551, 29_163),
    ("mistral_v3", "tekken"): (24_551, 29_163),
}
SENTENCEPIECE = {"mistral_v1", "mistral_v3"}


@cache
def strings(name: str) -> dict[str, int]:
    """The authors' way to match tokens: by their strings."""
    vocab: dict[str, int] = ALL[name]().get_vocab()
    special = vocabulary(name).special
    return {token.replace("Ġ", "▁"): id_ for token, id_ in vocab.items() if id_ not in special}


@cache
def pair(*names: str) -> torch.Tensor:
    return shared_anchors([vocabulary(name) for name in names])


@pytest.mark.parametrize("names", list(combinations(REAL, 2)), ids="-".join)
def test_the_number_of_shared_tokens_of_real_vocabularies(names: tuple[str, str]) -> None:
    by_strings = strings(names[0]).keys() & strings(names[1]).keys()
    anchors = pair(*names)
    naive, ours = len(by_strings), anchors.shape[1] - 1
    print(f"\n{' with '.join(names)}: {naive:,} equal strings, {ours:,} equal surfaces")
    assert (naive, ours) == SHARED[names]
    assert (ours > naive) == (len(SENTENCEPIECE & set(names)) == 1)


@pytest.mark.parametrize("names", list(combinations([*REAL, *SMALL], 2)), ids="-".join)
def test_no_token_that_equal_strings_find_is_lost(names: tuple[str, str]) -> None:
    """But a byte piece that no tokenizer emits, where the other vocabulary has it only once."""
    first, second = strings(names[0]), strings(names[1])
    anchors = set(map(tuple, pair(*names).T.tolist()))
    surfaces = [vocabulary(name).surfaces for name in names]
    missing = {token for token in first.keys() & second.keys() if (first[token], second[token]) not in anchors}
    same = {token for token in missing if surfaces[0][first[token]] == surfaces[1][second[token]]}
    emitted = {
        token
        for token in same
        if all(
            vocabulary(n).ids[s[v[token]] or b""] == v[token]
            for n, s, v in zip(names, surfaces, (first, second), strict=True)
        )
    }
    assert not emitted


@pytest.mark.parametrize("names", list(permutations(SMALL, 3)), ids="-".join)
def test_every_column_is_one_surface_and_the_last_is_the_end_of_text(names: tuple[str, ...]) -> None:
    members = [vocabulary(name) for name in names]
    anchors = shared_anchors(members)
    assert anchors.dtype == torch.int64
    *tokens, end = anchors.T.tolist()
    assert tuple(end) == tuple(member.end_of_text[0] for member in members)
    for column in tokens:
        surfaces = {member.surfaces[id_] for member, id_ in zip(members, column, strict=True)}
        assert len(surfaces) == 1
        assert surfaces.isdisjoint({None, b""})
    emitted = [column[0] for column in tokens if members[0].ids[members[0].surfaces[column[0]] or b""] == column[0]]
    assert [column[0] for column in tokens[: len(emitted)]] == emitted == sorted(emitted)  # then duplicates
    assert len(set(map(tuple, tokens))) == len(tokens)


def test_the_same_vocabulary_shares_all_that_it_emits() -> None:
    anchors = pair("byte_level_bpe", "byte_level_bpe")
    assert anchors.tolist() == [[*range(1, 480), 0]] * 2


def test_without_an_end_of_text_in_every_member_there_is_no_such_anchor() -> None:
    tokenizer = wordpiece()
    silent = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=())
    with_role = pair("byte_level_bpe", "wordpiece")
    assert torch.equal(shared_anchors([vocabulary("byte_level_bpe"), silent]), with_role[:, :-1])


def test_padding_changes_no_anchor() -> None:
    padded = read(byte_level_bpe(), padding=32)
    assert torch.equal(shared_anchors([padded, vocabulary("wordpiece")]), pair("byte_level_bpe", "wordpiece"))


def test_the_empty_surface_is_no_anchor() -> None:
    tokenizer = Tokenizer(models.WordPiece({"##": 0, "ab": 1, UNKNOWN: 2}, unk_token=UNKNOWN))
    tokenizer.decoder = decoders.WordPiece()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN)
    member = Vocabulary.from_tokenizer(wrapped, size=3, end_of_text=())
    assert member.surfaces == (b"", b" ab", None)
    assert shared_anchors([member, member]).tolist() == [[1], [1]]


def test_vocabularies_that_share_nothing_are_refused() -> None:
    tokenizer = Tokenizer(models.BPE({"ж": 0, "ю": 1}, []))
    tokenizer.decoder = decoders.Metaspace()
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    members = [vocabulary("byte_level_bpe"), Vocabulary.from_tokenizer(other, size=2, end_of_text=())]
    with pytest.raises(VocabularyError, match=r"got sizes \[480, 2\] and no shared token"):
        shared_anchors(members)
