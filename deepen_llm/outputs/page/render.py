"""From a trace to the page: what the template fills in, and the page's data."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepen_llm.fusion.search_step import SearchStep
from deepen_llm.outputs.page.spelling import label, segments
from deepen_llm.outputs.tokens import END, Candidate, MemberView, TokenTrace

_FOLDER = Path(__file__).parent
_LEAST_SHARE = 5e-4  # of a distribution; what has less is not shown
_LINES, _LEAST, _MOST = 34, 420, 760  # a frame's height in pixels: for each 80 characters, and its bounds


def page(trace: Sequence[TokenTrace]) -> str:
    """A whole page. Its policy allows its own style and script, by their digests, and nothing else."""
    style, script = (_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            style=style,
            script=script,
            style_digest=_digest(style),
            script_digest=_digest(script),
            members=_members(trace),
            tokens=_tokens(trace),
            moved=sum(token.changed for token in trace),
            nobody=sum(token.changed and token.moved_by is None for token in trace),
            data={"members": [view.name for view in trace[0].members] if trace else [], "tokens": _data(trace)},
        )
    )


def frame(trace: Sequence[TokenTrace]) -> str:
    """The page inside a frame with a sandbox, so that it and the notebook, or several of them, cannot touch each other.

    Styles, ids and keys stay apart, and the sandbox has an origin of its own: whatever the text does, it is not the
    notebook's.
    """
    lines = sum(len(token.text) / 80 + token.text.count("\n") for token in trace)
    height = min(_MOST, _LEAST + int(_LINES * lines))
    return _templates().get_template("frame.html.j2").render(page=page(trace), height=height)


def _members(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """Each member: its name, the look of what it moved, whether it is the main model, and how much it moved."""
    if not trace:
        return []
    main, moved = trace[0].main_model, [token.moved_by for token in trace]
    names = [view.name for view in trace[0].members]
    looks = _looks(trace)
    return [
        {"name": name, "look": looks.get(name, ""), "main": i == main, "moved": moved.count(name)}
        for i, name in enumerate(names)
    ]


def _looks(trace: Sequence[TokenTrace]) -> dict[str, str]:
    """The members that may move tokens, each with its colour and line: 6 and 5 of them, 30 together."""
    first = trace[0]
    names = dict.fromkeys(view.name for i, view in enumerate(first.members) if i != first.main_model)
    return {name: f"hue{i % 6} line{i % 5}" for i, name in enumerate(names)}


def _tokens(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """Each token: the parts of its text, or a mark where it has none, and how it looks."""
    looks, parts = _looks(trace) if trace else {}, segments([token.text for token in trace])
    return [
        {
            "parts": own,
            "piece": piece,
            "mark": "" if token.text else "end" if token.chosen.text == END else _named(token.chosen),
            "look": looks.get(token.moved_by or "", "nobody") if token.changed else "",
            "label": label(token.text) or _spoken(token.chosen, piece),
            "spoken": not token.text.strip() or token.changed,
            "moved_by": token.moved_by,
            "changed": token.changed,
            "reason": _worded(token),
        }
        for token, own, piece in zip(trace, parts, _pieces(trace), strict=True)
    ]


def _pieces(trace: Sequence[TokenTrace]) -> list[int]:
    """For each token that is all inside a character: the how-manieth such token of it; 0 for others."""
    counts: list[int] = []
    for token in trace:
        inside = not token.text and token.chosen.text not in {"", END}
        counts.append((counts[-1] if counts else 0) + 1 if inside else 0)
    return counts


def _worded(token: TokenTrace) -> list[str]:
    """The reason, its quoted tokens at the odd places, so that none of them turns the words around it."""
    quoted = {repr(one.text) for one in (token.main_choice, token.chosen)}
    return re.split("(" + "|".join(map(re.escape, quoted)) + ")", token.reason)


def _spoken(chosen: Candidate, piece: int) -> str:
    """What a screen reader says for a token without characters."""
    return f"part of a character, {chosen.text}" if piece else "end of text" if chosen.text == END else _named(chosen)


def _data(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """What the panel shows of each token; short names, since an answer may have thousands."""
    return [
        {
            "t": _named(token.chosen),
            "p": _share(token.chosen),
            "r": _worded(token),
            "b": token.moved_by,
            "i": token.main_model,
            "f": _row(token.fused, token.chosen),
            "w": [round(view.weight, 4) for view in token.members],
            "m": [_row(view.top, token.chosen) for view in token.members],
            "s": [_straddling(view) for view in token.members],
            "a": [round(view.abstained, 4) for view in token.members],
            "c": [_step(step) for step in token.course],
        }
        for token in trace
    ]


def _row(top: Sequence[Candidate], chosen: Candidate) -> list[tuple[str, float]]:
    """The likeliest, the chosen token, and what shows in three decimals."""
    return [
        (_named(one), _share(one))
        for one in top
        if one in top[:1] or one.text == chosen.text or _share(one) >= _LEAST_SHARE
    ]


def _straddling(view: MemberView) -> list[tuple[str, float, int]]:
    """What a member expects by its readings at earlier tokens, if it shows."""
    return [(label(one.text), round(one.share, 4), one.back) for one in view.straddling if one.share >= _LEAST_SHARE]


def _step(step: SearchStep) -> tuple[float, float]:
    return float(f"{step.objective:.4g}"), float(f"{step.probability:.4g}")


def _share(one: Candidate) -> float:
    return round(math.exp(one.logprob), 4)


def _named(one: Candidate) -> str:
    return label(one.text) or f"token {one.token}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
