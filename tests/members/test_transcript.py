"""Transcripts under real vocabularies: exact, and at a cost that does not grow with the text."""

from functools import cache

import pytest
from hypothesis import given, settings

from deepen_llm.members.text.encoding import Encoded, TextEncoder
from deepen_llm.members.text.transcript import Transcript
from tests.texts import PIECES
from tests.tokenizers import REAL, SMALL, TEXTS
from tests.vocabulary.reading import vocabulary

KINDS = {name: build for name, build in {**REAL, **SMALL}.items() if "common" not in name}


@cache
def encoder_of(kind: str) -> TextEncoder:
    return TextEncoder(KINDS[kind](), vocabulary(kind).special, vocabulary(kind).surfaces)


@pytest.fixture(params=KINDS, scope="module")
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    return encoder_of(request.param)


def long_text(count: int) -> list[str]:
    """Words, digits, spaces and characters of many scripts, in pieces of one to seven characters."""
    text = " ".join(TEXTS * 10)
    pieces: list[str] = []
    for place in range(count):
        size = 1 + (place * 3) % 7
        pieces, text = [*pieces, text[:size]], text[size:]
    return pieces


def test_a_long_text_is_encoded_as_a_whole(encoder: TextEncoder) -> None:
    script = Transcript(encoder, encoder.prompt("It was said:"))
    text = ""
    for place, piece in enumerate(long_text(400)):
        script.append_text(piece)
        text += piece
        if place % 20 == 0:
            whole = Transcript(encoder, encoder.prompt("It was said:"))
            whole.append_text(text)
            assert script.ids == whole.ids


def test_the_cost_of_a_piece_does_not_grow_with_the_text(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    plain = encoder.encode_text

    def counting(text: str) -> Encoded:
        lengths.append(len(text))
        return plain(text)

    script = Transcript(encoder, encoder.prompt("It was said:"))
    text = "".join(long_text(900))
    assert len(text) > 2500
    script.append_text(text)
    monkeypatch.setattr(encoder, "encode_text", counting)
    for piece in long_text(60):
        script.append_text(piece)
    assert sorted(lengths)[len(lengths) // 2] < 300
    assert sum(lengths) / len(lengths) < 600


def test_long_numbers_are_encoded_as_a_whole(encoder: TextEncoder) -> None:
    prompt, said = encoder.prompt("It was said: "), ""
    script = Transcript(encoder, prompt)
    for place in range(90):
        piece = chr(0x660 + place * 7 % 10) if place < 45 else str(place)
        script.append_text(piece)
        said += piece
        assert script.ids == [*prompt.ids[: prompt.fixed], *encoder.encode_text(prompt.tail + said).ids]


@pytest.mark.parametrize("kind", REAL)
def test_awkward_text_is_encoded_as_a_whole(kind: str) -> None:
    encoder = encoder_of(kind)

    @given(pieces=PIECES)
    @settings(max_examples=40, deadline=None)
    def check(pieces: list[str]) -> None:
        prompt = encoder.prompt("It was said:")
        script = Transcript(encoder, prompt)
        text = prompt.tail
        for piece in pieces:
            script.append_text(piece)
            text += piece
            assert script.ids == [*prompt.ids[: prompt.fixed], *encoder.encode_text(text).ids]

    check()
