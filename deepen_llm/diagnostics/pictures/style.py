"""How all pictures look: one palette, one font size, one light background, and no state that outlives a picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from deepen_llm.errors import ConfigError

try:
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font
except ImportError as _error:
    raise ConfigError("pictures need matplotlib", hint="pip install 'deepen-llm[plot]'") from _error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#000000")
"""Colours that colour-blind readers tell apart (Okabe and Ito, 2008; a brown for their yellow, too pale on white)."""

MUTED = "#6B6B6B"
"""For what others are compared with: chance, a floor, a baseline."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "grid.color": "#E3E3E3",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "deepen-llm",  # the same data, the same file
    "text.parse_math": False,  # a token may hold a dollar sign
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
"""Settings of matplotlib, in force over its defaults while a picture is made and written."""

_DPI = 150
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Picture(Figure):
    """A figure that shows itself in a notebook, whatever the backend.

    Args:
        width: In inches.
        height: In inches.
    """

    def __init__(self, width: float = 8.0, height: float = 4.5) -> None:
        with style.context(["default", STYLE]):
            super().__init__(figsize=(width, height), layout="constrained")
            FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with style.context(["default", STYLE]):
            self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def drawing(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function draw in this style, whatever the user's own settings are."""

    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return styled


def label(axes: Axes, title: str, across: str, up: str) -> None:
    """Say what a panel shows, and what its axes are."""
    axes.set_title(drawable(title))
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def drawable(text: str) -> str:
    """A text with escapes for what the font of all pictures cannot draw; for names, and whatever users bring."""
    font = get_font(findfont(STYLE["font.family"]))
    return "".join(one if one == "\n" or font.get_char_index(ord(one)) else ascii(one)[1:-1] for one in text)


def save(picture: Figure, file: Path) -> None:
    """Write a picture; the file's ending says how: ``.png``, ``.svg``, ``.pdf``.

    Folders that are missing are made.

    Raises:
        ConfigError: The ending is unknown, or the file cannot be written.
    """
    require_ending(file)
    dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with style.context(["default", STYLE]):
            picture.savefig(file, dpi=_DPI, metadata=dated.get(file.suffix))
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error}", hint="give a place that can be written to") from error


def require_ending(file: Path) -> None:
    """Check a file's ending before there is a picture.

    Raises:
        ConfigError: See `save`.
    """
    if file.suffix not in {".png", ".svg", ".pdf"}:
        raise ConfigError(f"no picture can be written as {file.name}", hint="end its name in .png, .svg or .pdf")
