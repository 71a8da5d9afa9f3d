"""Rendering of a trace as an HTML page."""

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
from deepen_llm.outputs.tokens import Candidate, MemberView, TokenTrace
from deepen_llm.vocabulary.vocabulary import END

_FOLDER = Path(__file__).parent
_LEAST_SHARE = 5e-4  # of a distribution; smaller shares are not shown
_LINES, _LEAST, _MOST = 34, 420, 760  # height of a frame in pixels: per 80 characters, and its bounds


def page(trace: Sequence[TokenTrace]) -> str:
    """Render a whole page; its content security policy allows only its own style and script, by their digests."""
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
    """Render the page inside a sandboxed frame, which isolates it from the notebook and from other pages.

    Styles, ids and keys are separate, and the sandbox has its own origin.
    """
    lines = sum(len(token.text) / 80 + token.text.count("\n") for token in trace)
    height = min(_MOST, _LEAST + int(_LINES * lines))
    return _templates().get_template("frame.html.j2").render(page=page(trace), height=height)


def _members(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """Each member: its name, the style of the tokens that it changed and their number, whether it is the main model."""
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
    """The style of each member that may change tokens: one of 6 colors and 5 lines, 30 combinations."""
    first = trace[0]
    names = dict.fromkeys(view.name for i, view in enumerate(first.members) if i != first.main_model)
    return {name: f"hue{i % 6} line{i % 5}" for i, name in enumerate(names)}


def _tokens(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """Each token: the segments of its text, or a mark if it has none, and its style."""
    looks, parts = _looks(trace) if trace else {}, segments([token.text for token in trace])
    return [
        {
            "parts": text_parts,
            "piece": piece,
            "mark": "" if token.text else "end" if token.chosen.text == END else _label(token.chosen),
            "look": looks.get(token.moved_by or "", "nobody") if token.changed else "",
            "label": label(token.text) or _accessible_label(token.chosen, piece),
            "spoken": not token.text.strip() or token.changed,
            "moved_by": token.moved_by,
            "changed": token.changed,
            "reason": _reason_parts(token),
        }
        for token, text_parts, piece in zip(trace, parts, _piece_numbers(trace), strict=True)
    ]


def _piece_numbers(trace: Sequence[TokenTrace]) -> list[int]:
    """For each token inside a character, its number among the tokens of that character, from 1; 0 for others."""
    counts: list[int] = []
    for token in trace:
        inside = not token.text and token.chosen.text not in {"", END}
        counts.append((counts[-1] if counts else 0) + 1 if inside else 0)
    return counts


def _reason_parts(token: TokenTrace) -> list[str]:
    """The reason, split at its quoted tokens, which have odd indices, to isolate their text direction."""
    quoted = {repr(candidate.text) for candidate in (token.main_choice, token.chosen)}
    return re.split("(" + "|".join(map(re.escape, quoted)) + ")", token.reason)


def _accessible_label(chosen: Candidate, piece: int) -> str:
    """The label of a token without characters for screen readers."""
    return f"part of a character, {chosen.text}" if piece else "end of text" if chosen.text == END else _label(chosen)


def _data(trace: Sequence[TokenTrace]) -> list[dict[str, Any]]:
    """The data of the panel for each token, with short keys, since an answer may have thousands of tokens."""
    return [
        {
            "t": _label(token.chosen),
            "p": _share(token.chosen),
            "r": _reason_parts(token),
            "b": token.moved_by,
            "i": token.main_model,
            "f": _shares(token.fused, token.chosen),
            "w": [round(view.weight, 4) for view in token.members],
            "m": [_shares(view.top, token.chosen) for view in token.members],
            "s": [_straddling(view) for view in token.members],
            "a": [round(view.abstained, 4) for view in token.members],
            "c": [_step(step) for step in token.search_path],
        }
        for token in trace
    ]


def _shares(top: Sequence[Candidate], chosen: Candidate) -> list[tuple[str, float]]:
    """The likeliest token, the chosen one, and all that have a visible share."""
    return [
        (_label(candidate), _share(candidate))
        for candidate in top
        if candidate in top[:1] or candidate.text == chosen.text or _share(candidate) >= _LEAST_SHARE
    ]


def _straddling(view: MemberView) -> list[tuple[str, float, int]]:
    """The straddling tokens with a visible share."""
    return [
        (label(token.text), round(token.share, 4), token.back)
        for token in view.straddling
        if token.share >= _LEAST_SHARE
    ]


def _step(step: SearchStep) -> tuple[float, float]:
    return float(f"{step.objective:.4g}"), float(f"{step.probability:.4g}")


def _share(candidate: Candidate) -> float:
    return round(math.exp(candidate.logprob), 4)


def _label(candidate: Candidate) -> str:
    return label(candidate.text) or f"token {candidate.token}"


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
