"""The figure of docs/performance.md: the time of a token and of the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import RowResult

_PANELS = {  # row whose raw values hold the curve: title, horizontal axis, labels
    "context": ("Context", "tokens of context", "time of a token, ms"),
    "batch": ("Batch", "rows decoded together", "time of a step, ms"),
    "members": ("Members", "members", "time of a token, ms"),
    "fused-flat": ("The fused step over K", "max_rows (K), where masses spread", "time of a fused step, ms"),
}
_SIDES = {
    "ours": ("the ensemble", 0, "o-"),
    "peaked": ("peaked distributions", 0, "o-"),
    "flat": ("flat distributions", 1, "s-"),
    "floor": ("the floor", None, "--"),
}


def curves(results: Sequence[RowResult]) -> dict[str, Mapping[str, Sequence[float]]]:
    """Select the measured curves by their row."""
    return {one.name: one.raw["curve"] for one in results if one.name in _PANELS and "curve" in one.raw}


def draw(found: Mapping[str, Mapping[str, Sequence[float]]], file: Path) -> None:
    """Draw one figure of four panels.

    Args:
        found: The curves, from `curves`.
        file: The picture to write.

    Raises:
        ConfigError: matplotlib is missing, or the picture cannot be written.
    """
    from deepen_llm.diagnostics.pictures.style import Picture, drawing, save

    @drawing
    def drawn() -> Picture:
        picture = Picture(9, 6.5)
        axes = picture.subplots(2, 2)
        for axis, (name, labels) in zip(axes.flat, _PANELS.items(), strict=True):
            _panel(axis, found.get(name), *labels)
        return picture

    save(drawn(), file)


def _panel(axis: Any, curve: Mapping[str, Sequence[float]] | None, title: str, across: str, up: str) -> None:
    from deepen_llm.diagnostics.pictures.style import COLORS, MUTED, label

    label(axis, title, across, up)
    if not curve:
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
        return
    for side, (name, index, style) in _SIDES.items():
        if side in curve:
            color = MUTED if index is None else COLORS[index]
            axis.plot(curve["x"], [1e3 * one for one in curve[side]], style, color=color, label=name)
    if "flat" in curve:
        axis.set_xscale("log", base=2)
    axis.set_xticks(curve["x"], [f"{one:,}" for one in curve["x"]])
    axis.minorticks_off()
    highest = 1e3 * max(max(curve[side]) for side in _SIDES if side in curve)
    axis.set_ylim(0, highest * (1.5 if "flat" in curve else 1.1))  # with room for the legend
    axis.legend(loc="upper right" if "flat" in curve else "lower right")
