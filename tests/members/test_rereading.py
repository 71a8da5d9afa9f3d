"""The encoding that a tokenizer itself gives to a text whose tokens were chosen with others."""

import pytest

from deepen_llm.members.text.encoding import TextEncoder
from deepen_llm.members.text.rereading import OwnEncoding
from tests.tokenizers import SMALL
from tests.vocabulary.reading import vocabulary

KIND = "byte_level_bpe"


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder(SMALL[KIND](), vocabulary(KIND).special, vocabulary(KIND).surfaces)


def ids(own: OwnEncoding) -> list[int] | None:
    script = own.script()
    return script.ids if script else None


def bytewise(text: bytes) -> list[int]:
    return [vocabulary(KIND).ids[bytes([byte])] for byte in text]


def test_single_bytes_become_the_tokenizer_s_own_tokens(encoder: TextEncoder) -> None:
    own = OwnEncoding(encoder, encoder.prompt("The quick"), vocabulary(KIND).surfaces)
    own.append(bytewise(b" brown"))
    assert ids(own) == list(encoder.prompt("The quick brown").ids)
    own.append(bytewise("é".encode()[:1]))
    assert ids(own) is None  # inside a character
    own.append(bytewise("é".encode()[1:]))
    assert ids(own) == list(encoder.prompt("The quick browné").ids)


def test_bytes_that_are_no_text_stay_and_what_follows_them_is_encoded(encoder: TextEncoder) -> None:
    own = OwnEncoding(encoder, encoder.prompt("The"), vocabulary(KIND).surfaces)
    broken = bytewise(b"\xf0\x9fA")
    own.append(broken)
    fixed = [*encoder.prompt("The").ids, *broken]
    assert ids(own) == fixed
    own.append(bytewise(b" quick brown"))
    assert ids(own) == [*fixed, *encoder.encode_after(("a",), " quick brown").ids]


def test_special_tokens_stay(encoder: TextEncoder) -> None:
    own = OwnEncoding(encoder, encoder.prompt("The"), vocabulary(KIND).surfaces)
    end = vocabulary(KIND).end_of_text[0]
    own.append([*bytewise(b" fox"), end, *bytewise(b" fox")])
    assert ids(own) == [*encoder.prompt("The fox").ids, end, *encoder.encode_after(("a",), " fox").ids]
