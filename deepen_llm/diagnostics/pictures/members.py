"""Pictures of members: the paper's plane of relative representations, consistency, self-mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from deepen_llm.diagnostics.anchor_comparison import AnchorComparison
from deepen_llm.diagnostics.pictures.projection import Projection
from deepen_llm.diagnostics.pictures.style import COLORS, MUTED, Picture, drawable, drawing, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_BINS = [edge / 40 for edge in range(41)]


@drawing
def draw_representations(projection: Projection) -> Picture:
    """Draw each member's anchors in a common plane, colored by the first member's clusters.

    Clusters at equal positions show that members represent these tokens alike.
    """
    picture = Picture(max(7.0, 4.2 * len(projection.members)), 5.4)
    _representations(picture, projection)
    return picture


@drawing
def draw_consistency(comparisons: Sequence[AnchorComparison]) -> Picture:
    """Draw the distribution of the anchors' consistency and that of chance, one panel per comparison."""
    picture = Picture(9.0, 1.0 + 2.1 * _row_count(comparisons))
    _consistency(picture, comparisons)
    return picture


@drawing
def draw_self_mass(masses: Mapping[str, Tensor], members: Sequence[str]) -> Picture:
    """Draw the cumulative distribution of the anchors' self-mass.

    Args:
        masses: For each space by its name, the members' self-masses, ``[N, K]``
            (`deepen_llm.diagnostics.agreement.self_masses`).
        members: The members' names, N of them.
    """
    picture = Picture(9.0, 4.0)
    _self_mass(picture, masses, members)
    return picture


def _representations(on: FigureBase, projection: Projection) -> None:
    on.suptitle(f"The same {projection.points.shape[1]:,} tokens in each member, by its relative representations")
    panels = on.subplots(1, len(projection.members), sharex=True, sharey=True, squeeze=False)[0]
    across, up = (f"component {i + 1} ({share:.0%} of variance)" for i, share in enumerate(projection.explained))
    for panel, (axes, name) in enumerate(zip(panels, projection.members, strict=True)):
        same, chance = projection.kept(panel)
        shown = f"{same:.0%} of tokens in the same cluster\n(by chance {chance:.0%})"
        label(axes, f"{name}\n{shown if panel else 'colors: its clusters'}", across, "" if panel else up)
        _points(axes, projection, panel)
    handles, names = panels[0].get_legend_handles_labels()
    legend = on.legend(
        handles, names, loc="outside lower center", ncols=3, title="Tokens amid each cluster", markerscale=2.5
    )
    for handle in legend.legend_handles:
        if handle:
            handle.set_alpha(1)


def _points(axes: Axes, projection: Projection, member: int) -> None:
    """One member's points, in the colors of the first member's clusters, and the centers of these clusters."""
    for cluster, (center, texts) in enumerate(zip(projection.centers, projection.examples, strict=True)):
        points = projection.points[member][projection.clusters[0] == cluster]
        color = COLORS[cluster % len(COLORS)]
        examples = "  ".join(map(_quoted, texts))
        axes.scatter(
            points[:, 0], points[:, 1], s=9, color=color, alpha=0.55, linewidths=0, label=f"{cluster + 1}:  {examples}"
        )
        axes.annotate(
            str(cluster + 1),
            (float(center[0]), float(center[1])),
            ha="center",
            va="center",
            fontsize=9,
            color="white",
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": color, "edgecolor": "white"},
        )


def _row_count(comparisons: Sequence[AnchorComparison]) -> int:
    return max(1, -(-len(comparisons) // 2))


def _consistency(on: FigureBase, comparisons: Sequence[AnchorComparison]) -> None:
    on.suptitle("How alike members see single anchors")
    across = min(2, max(1, len(comparisons)))
    panels = on.subplots(_row_count(comparisons), across, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(comparisons) :]:
        axes.set_visible(False)
    for panel, (axes, comparison) in enumerate(zip(panels.flat, comparisons, strict=False)):
        below = "consistency of an anchor" if panel >= len(comparisons) - across else ""
        label(axes, title(comparison.members), below, "" if panel % across else "share of anchors")
        _histograms(axes, comparison)
    handles, names = panels.flat[0].get_legend_handles_labels()
    on.legend(handles, names, loc="outside lower center", ncols=2)


def title(members: Sequence[str]) -> str:
    """Format a title of some members."""
    return " and ".join(members) if len(members) == 2 else f"all {len(members)} together"


def _histograms(axes: Axes, comparison: AnchorComparison) -> None:
    consistency = comparison.consistency
    for values, color, name in (
        (consistency.mismatched, MUTED, "chance: an anchor and another one"),
        (consistency.values, COLORS[0], "an anchor and itself"),
    ):
        share = np.full(len(values), 1 / len(values))
        axes.hist(values.numpy(), _BINS, weights=share, color=color, alpha=0.6, label=f"{name} (line: the mean)")
        axes.axvline(float(values.mean()), color=color, linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter(_percent)


def _self_mass(on: FigureBase, masses: Mapping[str, Tensor], members: Sequence[str]) -> None:
    on.suptitle("Self-mass: how much of an anchor's representation is the anchor itself")
    panels = on.subplots(1, len(masses), sharey=True, squeeze=False)[0]
    for panel, (axes, (space, by_member)) in enumerate(zip(panels, masses.items(), strict=True)):
        label(axes, f"{space} space", "self-mass of an anchor", "" if panel else "share of anchors with at most that")
        for rank, (name, values) in enumerate(zip(members, by_member, strict=True)):
            width = max(1.5, 2.0 * (len(members) - rank))  # lines on each other stay visible
            mean = f"{drawable(name)} (mean {float(values.mean()):.2f})"
            axes.ecdf(values.numpy(), color=COLORS[rank % len(COLORS)], linewidth=width, label=mean)
        axes.set_xlim(0, 1.02)
        axes.yaxis.set_major_formatter(_percent)
        axes.legend(loc="upper left")


def _percent(value: float, _: object) -> str:
    return f"{value:.0%}"


def _quoted(text: str) -> str:
    return f"'{drawable(text)}'"


@drawing
def draw_overview(
    projection: Projection, comparisons: Sequence[AnchorComparison], masses: Mapping[str, Tensor]
) -> Picture:
    """Draw the pictures of representations, consistency and self-mass on one page."""
    heights = (5.4, 1.0 + 2.1 * _row_count(comparisons), 4.0)
    picture = Picture(max(9.0, 4.2 * len(projection.members)), sum(heights))
    first, second, third = np.asarray(picture.subfigures(3, 1, height_ratios=heights, hspace=0.04)).flat
    _representations(first, projection)
    _consistency(second, comparisons)
    _self_mass(third, masses, projection.members)
    return picture
