"""The study's pictures, from its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepen_llm.diagnostics.pictures.style import COLORS, MUTED, Picture, drawing, label, save
from research.study.tables import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Results = Mapping[str, Table]
"""The tables, by name."""

_COLORS = {
    "bayes, ": COLORS[0],
    "bayes, two rounds, ": COLORS[2],
    "bayes, three rounds, ": COLORS[4],
    "exact tokens, ": COLORS[3],
    "deepen, ": COLORS[1],
}
_SURFACES = {
    "alone": MUTED,
    "surface": COLORS[0],
    "bayes, three rounds": COLORS[4],
    "bayes (rounds=3)": COLORS[4],
    "exact tokens": COLORS[3],
    "deepen": COLORS[1],
}
_ENSEMBLES = {"four": "Four generalists", "three": "Three specialists"}
_UNITS = {"right": "right answers, %", "loss": "loss, nats"}


def draw(results: Results, out: Path) -> None:
    """Draw every picture.

    Args:
        results: The tables.
        out: The folder that they go into.
    """
    for name, picture in PICTURES.items():
        save(picture(results), out / f"study-{name}.png")


@drawing
def methods(results: Results) -> Picture:
    """Every method on the generalists and on the specialists, with intervals."""
    picture = Picture(11, 4.8)
    for place, (name, title) in enumerate(_ENSEMBLES.items(), 1):
        axes, rows = picture.add_subplot(1, 2, place), results[f"methods-{name}"]["rows"]
        for height, row in enumerate(reversed(rows)):
            mean, low, high = row["right"]
            axes.errorbar(mean, height, xerr=[[mean - low], [high - mean]], fmt="o", color=_color(row), capsize=3)
        axes.set_yticks(range(len(rows)), [row["label"] for row in reversed(rows)])
        axes.axvline(rows[0]["right"][0], color=MUTED, ls="--", lw=1)
        label(axes, title, "right answers, %, with 95 % intervals", "")
    return picture


@drawing
def rounds(results: Results) -> Picture:
    """Score and loss over the number of rounds of Bayes' rule, beside the average over matching tokens."""
    picture = Picture(10, 6.4)
    for across, (name, title) in enumerate(_ENSEMBLES.items()):
        rows = results[f"rounds-{name}"]["rows"]
        for down, (value, unit) in enumerate(_UNITS.items()):
            axes = picture.add_subplot(2, 2, 1 + across + 2 * down)
            for color, weights in ((COLORS[0], "equal weights"), (COLORS[1], "by entropy")):
                _curve(axes, _with(rows, rf"rounds \d+, {weights}"), value, f"bayes, {weights}", color)
                (exact,) = _with(rows, f"exact tokens, {weights}")
                axes.axhline(exact[value][0], color=color, ls="--", lw=1.2, label=f"exact tokens, {weights}")
            axes.set_xscale("log")
            axes.set_xticks([1, 2, 3, 5, 10, 20], ["1", "2", "3", "5", "10", "20"])
            axes.minorticks_off()
            label(axes, title, "rounds of Bayes' rule", unit)
            if down == 1 - across:
                axes.legend(fontsize=8)
    return picture


@drawing
def search(results: Results) -> Picture:
    """Score and loss of the paper's search over its rate and its number of steps."""
    picture = Picture(10, 6.4)
    lines = {name: _with(results["methods-four"]["rows"], name)[0] for name in ("bayes, Avg", "bayes, two rounds, Avg")}
    lines |= {"best member alone": results["methods-four"]["rows"][0]}
    steps = results["steps"]["rows"]
    panels: dict[str, dict[str, list[Row]]] = {
        "rate η": {"T 5": _with(results["rates"]["rows"], "η .*")},
        "search steps T": {f"η {rate}": _with(steps, rf"T \d+, η {rate}") for rate in ("0.15", "1")},
    }
    for across, (name, curves) in enumerate(panels.items()):
        for down, (value, unit) in enumerate(_UNITS.items()):
            axes = picture.add_subplot(2, 2, 1 + across + 2 * down)
            for color, (curve, rows) in zip((COLORS[1], COLORS[4]), curves.items(), strict=False):
                _curve(axes, rows, value, f"deepen, {curve}", color)
            for color, (line, row) in zip((COLORS[0], COLORS[2], MUTED), lines.items(), strict=True):
                axes.axhline(row[value][0], color=color, ls="--", lw=1.2, label=line)
            axes.set_xticks([1, 3, 5, 10, 20] if across else [0.05, 0.15, 0.3, 0.5, 0.7, 1])
            label(axes, "Four generalists", name, unit)
            if not down:
                axes.legend(fontsize=8)
    return picture


@drawing
def numbers(results: Results) -> Picture:
    """The score over the number of members, the number of anchors and the self-mass."""
    picture = Picture(13, 4.2)
    axes, rows = picture.add_subplot(1, 3, 1), results["counts"]["rows"]
    for method, color in _COLORS.items():
        _curve(axes, [rows[0], *_with(rows, rf"{method}\d.*")], "right", method.rstrip(", "), color, band=False)
    axes.set_xticks([1, 2, 3, 4])
    label(axes, "Generalists, best first", "members", _UNITS["right"])
    axes.legend(fontsize=8)
    axes, rows = picture.add_subplot(1, 3, 2), results["anchors-three"]["rows"]
    kinds = {"random": r"\d+ random.*", "consistent": r"\d+ consistent", "spread": r"\d+ spread"}
    kinds["exact tokens, random"] = "exact tokens, .* random.*"
    for (kind, pattern), color in zip(kinds.items(), COLORS, strict=False):
        _curve(axes, _averaged(_with(rows, pattern)), "right", kind, color, band=False)
    axes.axhline(rows[0]["right"][0], color=MUTED, ls="--", lw=1.2, label="all")
    counts = sorted({int(_number(row["label"])) for row in _with(rows, kinds["spread"])})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    label(axes, "Specialists, bayes in two rounds", "anchors", _UNITS["right"])
    axes.legend(fontsize=8)
    axes, rows = picture.add_subplot(1, 3, 3), results["masses-four"]["rows"]
    for method in ("bayes, ", "bayes, two rounds, "):
        _curve(axes, _with(rows, f"{method}self-mass .*"), "right", method.rstrip(", "), _COLORS[method])
    label(axes, "Generalists", "mean self-mass of anchors", _UNITS["right"])
    axes.legend(fontsize=8)
    return picture


@drawing
def surfaces(results: Results) -> Picture:
    """Surfaces beside the other methods, with every main model: short answers, and long ones."""
    picture, tables = Picture(11, 4.8), {"Short answers": "surface", "Long answers": "long-methods"}
    for place, (title, name) in enumerate(tables.items(), 1):
        axes, blocks = picture.add_subplot(1, 2, place), _blocks(results[name]["rows"])
        for height, (_, rows) in enumerate(reversed(blocks)):
            for row in rows:
                method = row["label"].split(": ")[-1].split(" ")[-1 if row["label"].endswith("alone") else 0 :]
                color = _SURFACES.get(" ".join(method))
                if color and "derailed" in row:
                    axes.plot(row["derailed"][0], height, "x", color=color, ms=7)
                if color:
                    axes.plot(row["right"][0], height, "o", color=color, ms=9, alpha=0.8)
        axes.set_yticks(range(len(blocks)), [block for block, _ in reversed(blocks)])
        label(axes, title, "right answers, % (crosses: derailed)" if place > 1 else "right answers, %", "")
    for name, color in {name: color for name, color in _SURFACES.items() if "(" not in name}.items():
        axes.plot([], [], "o", color=color, label=name)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.65, 0.9))
    return picture


PICTURES: dict[str, Callable[[Results], Picture]] = {
    "methods": methods,
    "rounds": rounds,
    "search": search,
    "numbers": numbers,
    "surfaces": surfaces,
}
"""The function that draws each picture; ``study-NAME.png`` is its file."""


def _blocks(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Split rows by ensemble: each part begins with a main model alone; its last row's label begins with its name."""
    starts = [place for place, row in enumerate(rows) if row["label"].endswith("alone")]
    parts = [list(rows[first:last]) for first, last in zip(starts, [*starts[1:], None], strict=True)]
    return [(part[-1]["label"].split(": ")[0], part) for part in parts]


def _curve(axes: Axes, rows: Sequence[Row], value: str, name: str, color: str, *, band: bool = True) -> None:
    """A line over the first number in each label, with its interval as a band."""
    across = [_number(row["label"]) for row in rows]
    mean, low, high = zip(*(row[value] for row in rows), strict=True)
    axes.plot(across, mean, "o-", color=color, label=name, ms=4)
    if band:
        axes.fill_between(across, low, high, color=color, alpha=0.12, lw=0)


def _averaged(rows: Sequence[Row]) -> list[Row]:
    """Average rows whose labels begin with the same number: results of several seeds."""
    found: dict[float, list[Row]] = {}
    for row in rows:
        found.setdefault(_number(row["label"]), []).append(row)
    means = {count: sum(row["right"][0] for row in same) / len(same) for count, same in found.items()}
    return [{"label": str(count), "right": [mean] * 3} for count, mean in means.items()]


def _color(row: Row) -> str:
    found = [color for start, color in _COLORS.items() if row["label"].startswith(start)]
    return found[-1] if found else MUTED


def _with(rows: Sequence[Row], pattern: str) -> list[Row]:
    return [row for row in rows if re.fullmatch(pattern, row["label"])]


def _number(text: str) -> float:
    return float(re.findall(r"\d+(?:\.\d+)?", text)[0])
