"""The style of all pictures: palette, font size, light background; no global state is changed."""

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

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#000000")
"""Colors that color-blind readers can distinguish (Okabe and Ito, 2008; with brown in place of yellow)."""

MUTED = "#6B6B6B"
"""The color of baselines, floors and chance."""

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
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 10,
    "grid.color": "#E3E3E3",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "deepen-llm",  # reproducible files
    "text.parse_math": False,  # a token may contain a dollar sign
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
"""Settings of matplotlib that replace its defaults while a picture is drawn and saved."""

_DPI = 150
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Picture(Figure):
    """A figure with a PNG representation for notebooks, independent of the backend.

    Args:
        width: The width in inches.
        height: The height in inches.
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
    """Run a function in this style, independent of the user's settings."""

    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return styled


def label(axes: Axes, title: str, across: str, up: str) -> None:
    """Set the title and the axis labels of a panel."""
    axes.set_title(drawable(title))
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def drawable(text: str) -> str:
    """Escape the characters of a text that the font of the pictures lacks."""
    font = get_font(findfont(STYLE["font.family"]))
    return "".join(char if char == "\n" or font.get_char_index(ord(char)) else ascii(char)[1:-1] for char in text)


def save(picture: Figure, file: Path) -> None:
    """Write a picture in the format of the file's suffix: ``.png``, ``.svg`` or ``.pdf``; create missing folders.

    Raises:
        ConfigError: The suffix is unknown, or the file cannot be written.
    """
    require_ending(file)
    dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with style.context(["default", STYLE]):
            picture.savefig(file, dpi=_DPI, metadata=dated.get(file.suffix))
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error}", hint="give a writable path") from error


def require_ending(file: Path) -> None:
    """Check the suffix of a picture's file.

    Raises:
        ConfigError: The suffix is unknown.
    """
    if file.suffix not in {".png", ".svg", ".pdf"}:
        raise ConfigError(f"expected a file name in .png, .svg or .pdf, got {file.name}", hint="change the suffix")
