"""What members would gain, drawn: what `deepen inspect` judges by."""

from __future__ import annotations

from collections.abc import Sequence

from deepen_llm.diagnostics.comparison import Comparison
from deepen_llm.diagnostics.pictures.members import title
from deepen_llm.diagnostics.pictures.style import COLOURS, MUTED, Picture, drawable, drawing, label

_COLOURS = {"worth trying": COLOURS[2], "use one alone": COLOURS[1], "undecided": MUTED}


@drawing
def draw_gains(comparisons: Sequence[Comparison]) -> Picture:
    """Draw what the surest member's answers would gain over the best member's, with its interval, for each comparison.

    Args:
        comparisons: Comparisons of members that were asked.
    """
    picture = Picture(9.0, 1.2 + 0.5 * len(comparisons))
    axes = picture.add_subplot()
    for height, one in enumerate(reversed(comparisons)):
        if found := one.overlap:
            value, low, high = (100 * end for end in (found.gain.value, found.gain.low, found.gain.high))
            colour = _COLOURS[found.verdict]
            axes.errorbar(value, height, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
    names = [f"{drawable(title(one.members))}: {one.verdict}" for one in reversed(comparisons)]
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color=MUTED, linewidth=1)
    label(axes, "What the surest member's answers gain over the best member's", "points, with 95 % intervals", "")
    return picture
