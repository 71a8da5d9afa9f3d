"""Pictures of an ensemble's members, as ``matplotlib.figure.Figure``s without global state.

They need the extra ``plot`` (matplotlib, scikit-learn).
"""

from deepen_llm.diagnostics.pictures.gains import draw_gains
from deepen_llm.diagnostics.pictures.members import (
    draw_consistency,
    draw_overview,
    draw_representations,
    draw_self_mass,
)
from deepen_llm.diagnostics.pictures.projection import Projection, project
from deepen_llm.diagnostics.pictures.style import Picture, require_ending, save

__all__ = [
    "Picture",
    "Projection",
    "draw_consistency",
    "draw_gains",
    "draw_overview",
    "draw_representations",
    "draw_self_mass",
    "project",
    "require_ending",
    "save",
]
