"""Texts to test with, as hypothesis draws them: arbitrary Unicode, and the kinds that tokenizers stumble over."""

from hypothesis import strategies as st

_AWKWARD = [
    *[" ", "  ", "\n", "\n\n", "\t", "\r\n", "the", " the", "The", "and over", "1", "23", "4567", "'s", "'", "don't"],
    *[
        "ß",
        "Zwölf",
        "é",
        "e\u0301",
        "ï",
        "🚀",
        "👩‍💻",
        "👩",
        "你好",
        "世界",
        "。",
        "ё",
        "мягких",
        "\u200d",
        "\ufeff",
        "\u00a0",
    ],
    *["▁", "##s", "Ġ", "<0x0A>", "<s>", "</s>", "<|end|>", "<unk>", "aaaaaaaa", "-----", "!!!", ".", ",", "{", "\x00"],
    "ﬁ",
]

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PIECES = st.lists(st.one_of(st.sampled_from(_AWKWARD), UNICODE), max_size=60)
"""A text in pieces, as it is heard."""
