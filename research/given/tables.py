"""Results as JSON and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from research.study.intervals import interval

if TYPE_CHECKING:
    from research.given.measure import Scores

Row = dict[str, Any]
"""The results of a setting, as JSON holds them. Gains are in nats per main-model token over the main model alone, with
their 95 % intervals when pieces are drawn anew."""

ALL = "all"
"""The column for all fields together."""


def row(fields: Sequence[str], found: Scores, alone: Scores) -> Row:
    """Summarize a setting's scores as a row of the table.

    Args:
        fields: The field of each piece.
        found: The scores of the setting.
        alone: The scores of its main model alone, the baseline.
    """
    made: Row = {
        "ensemble": found.ensemble if found is not alone else found.setting.main,
        "setting": found.setting.label,
        "tokens_per_second": round(sum(len(one.tokens) for one in found.pieces) / found.seconds),
        "nats_of_pieces": [round(-one.total, 3) for one in found.pieces],
    }
    for field in (ALL, *dict.fromkeys(fields)):
        kept = [place for place, one in enumerate(fields) if field in (ALL, one)]
        made[field] = _of_field(found, alone, kept)
    return made


def markdown(rows: Sequence[Row]) -> str:
    """Format rows as a table; a gain whose interval excludes zero is bold."""
    fields = [name for name, one in rows[0].items() if isinstance(one, dict)]
    heads = ["members", "setting", "nats", "likeliest, %", *(f"gain, {field}" for field in fields), "tokens a second"]
    lines = [heads, ["---"] * len(heads), *(_cells(one, fields) for one in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _of_field(found: Scores, alone: Scores, kept: Sequence[int]) -> Row:
    """Nats per token, the share of tokens that are the likeliest, and the gain, of some pieces."""
    tokens = [token for place in kept for token in found.pieces[place].tokens]
    before = [token for place in kept for token in alone.pieces[place].tokens]
    owner = [str(place) for place in kept for _ in found.pieces[place].tokens]
    made: Row = {
        "pieces": len(kept),
        "tokens": len(tokens),
        "nats": round(-sum(token.logprob for token in tokens) / len(tokens), 4),
        "likeliest": round(100 * sum(token.greedy for token in tokens) / len(tokens), 1),
    }
    if found is not alone:
        gains = torch.tensor([ours.logprob - theirs.logprob for ours, theirs in zip(tokens, before, strict=True)])
        made["gain"] = [round(one, 4) for one in interval(gains, owner)]
    return made


def _cells(one: Row, fields: Sequence[str]) -> list[str]:
    whole, gains = one[ALL], [one[field].get("gain") for field in fields]
    cells = [one["ensemble"], one["setting"], f"{whole['nats']:.3f}", f"{whole['likeliest']:.1f}"]
    return [*cells, *("" if gain is None else _shown(gain) for gain in gains), str(one["tokens_per_second"])]


def _shown(gain: Sequence[float]) -> str:
    mean, low, high = gain
    text = f"{mean:+.3f}"
    return f"{f'**{text}**' if low > 0 or high < 0 else text} ({low:+.3f} to {high:+.3f})"
