"""Rules that map one token's string to its surface, one rule per kind of tokenizer."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from itertools import accumulate

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_CJK = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f]"
)
_ATTACHED = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")  # as in the WordPiece decoder's clean-up

_BLOCK = 4096  # tokens that are mapped together

Rule = Callable[[str], bytes]


def _byte_table() -> dict[str, int]:
    """GPT-2's table: printable Latin-1 maps to itself, the characters from U+0100 on to the other bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_table()
_TABLE = codecs.charmap_build("".join(sorted(_BYTES, key=_BYTES.__getitem__)))


def byte_level(token: str) -> bytes:
    r"""Map a byte-level token by the byte table; a token with a character outside the table is encoded as UTF-8.

    >>> byte_level("Ġé"), byte_level("a b")
    (b' \xe9', b'a b')
    """
    try:
        return codecs.charmap_encode(token, "strict", _TABLE)[0]
    except UnicodeEncodeError:
        return token.encode()


def all_byte_level(tokens: Sequence[str]) -> list[bytes]:
    """Map many tokens as `byte_level` does; a block whose characters are all in the table is mapped at once."""
    surfaces: list[bytes] = []
    for start in range(0, len(tokens), _BLOCK):
        block = tokens[start : start + _BLOCK]
        try:
            joined = codecs.charmap_encode("".join(block), "strict", _TABLE)[0]
        except UnicodeEncodeError:
            surfaces += map(byte_level, block)
        else:
            ends = list(accumulate(map(len, block)))
            surfaces += [joined[first:last] for first, last in zip([0, *ends], ends, strict=False)]
    return surfaces


def sentencepiece(replacements: dict[str, str], *, byte_pieces: bool) -> Rule:
    r"""Make the rule of SentencePiece: ``▁`` is a space and, with byte fallback, ``<0x0A>`` is its byte.

    >>> surface = sentencepiece({"▁": " "}, byte_pieces=True)
    >>> surface("▁▁a"), surface("<0x0A>")
    (b'  a', b'\n')
    """

    def surface(token: str) -> bytes:
        piece = BYTE_PIECE.fullmatch(token) if byte_pieces and token.startswith("<0x") else None
        if piece:
            return bytes.fromhex(piece[1])
        for pattern, content in replacements.items():
            token = token.replace(pattern, content)
        return token.encode()

    return surface


def wordpiece(prefix: str, *, cleanup: bool) -> Rule:
    r"""Make the rule of WordPiece: ``##x`` continues a word, any other token starts one after a space.

    The decoder's clean-up attaches some punctuation to the left. A single Chinese character has no space either: the
    tokenizer separates these characters everywhere, so decoding would insert spaces that the text does not have.

    >>> surface = wordpiece("##", cleanup=True)
    >>> surface("##ing"), surface("the"), surface(","), surface("中")
    (b'ing', b' the', b',', b'\xe4\xb8\xad')
    """
    attached = _ATTACHED if cleanup else ()

    def surface(token: str) -> bytes:
        if token.startswith(prefix):
            return token[len(prefix) :].encode()
        return (token if token.startswith(attached) or _CJK.fullmatch(token) else f" {token}").encode()

    return surface
