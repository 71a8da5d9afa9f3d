"""Picture of the gains that `deepen inspect` predicts."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.diagnostics.comparison import Comparison
from deepen_llm.diagnostics.pictures.members import title
from deepen_llm.diagnostics.pictures.style import COLORS, MUTED, Picture, drawable, drawing, label

_COLORS = {"worth trying": COLORS[2], "use one alone": COLORS[1], "undecided": MUTED}


@drawing
def draw_gains(comparisons: Sequence[Comparison]) -> Picture:
    """Draw the gain of the surest member's answers over the best member's, with its interval, for each comparison.

    Args:
        comparisons: Comparisons with answers.
    """
    picture = Picture(9.0, 1.2 + 0.5 * len(comparisons))
    axes = picture.add_subplot()
    for height, comparison in enumerate(reversed(comparisons)):
        if overlap := comparison.overlap:
            value, low, high = (100 * end for end in (overlap.gain.value, overlap.gain.low, overlap.gain.high))
            color = _COLORS[overlap.verdict]
            axes.errorbar(value, height, xerr=[[value - low], [high - value]], fmt="o", color=color, capsize=3)
    names = [f"{drawable(title(comparison.members))}: {comparison.verdict}" for comparison in reversed(comparisons)]
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color=MUTED, linewidth=1)
    label(axes, "What the surest member's answers gain over the best member's", "points, with 95 % intervals", "")
    return picture
