"""Transcripts under real vocabularies: exact, and at a cost that does not grow with the text."""

import pytest
from hypothesis import given, settings

from deepen_llm.members.encoding import Encoded, TextEncoder
from deepen_llm.members.transcript import Transcript
from deepen_llm.vocabulary import Vocabulary
from tests.texts import PIECES
from tests.tokenizers import REAL, SMALL, TEXTS

KINDS = {name: build for name, build in {**REAL, **SMALL}.items() if "common" not in name}


def encoder_of(kind: str) -> TextEncoder:
    tokenizer = KINDS[kind]()
    vocabulary = Vocabulary.from_tokenizer(tokenizer, size=len(tokenizer), end_of_text=[])
    return TextEncoder(tokenizer, vocabulary.special, vocabulary.surfaces)


ENCODERS: dict[str, TextEncoder] = {}


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
    for place, piece in enumerate(long_text(400)):
        script.append_text(piece)
        if place % 20 == 0:
            whole = Transcript(encoder, encoder.prompt("It was said:"))
            whole.append_text(script.heard)
            assert script.ids == whole.ids


def test_the_cost_of_a_piece_does_not_grow_with_the_text(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    plain = encoder.plain

    def counting(text: str) -> Encoded:
        lengths.append(len(text))
        return plain(text)

    script = Transcript(encoder, encoder.prompt("It was said:"))
    script.append_text("".join(long_text(900)))
    monkeypatch.setattr(encoder, "plain", counting)
    for piece in long_text(60):
        script.append_text(piece)
    assert len(script.heard) > 2500
    assert sorted(lengths)[len(lengths) // 2] < 300
    assert sum(lengths) / len(lengths) < 600


@pytest.mark.parametrize("kind", REAL)
def test_awkward_text_is_encoded_as_a_whole(kind: str) -> None:
    if kind not in ENCODERS:
        ENCODERS[kind] = encoder_of(kind)
    encoder = ENCODERS[kind]

    @given(pieces=PIECES)
    @settings(max_examples=40, deadline=None)
    def check(pieces: list[str]) -> None:
        prompt = encoder.prompt("It was said:")
        script = Transcript(encoder, prompt)
        for piece in pieces:
            script.append_text(piece)
            assert script.ids == [*prompt.ids[: prompt.fixed], *encoder.plain(prompt.tail + script.heard).ids]

    check()
