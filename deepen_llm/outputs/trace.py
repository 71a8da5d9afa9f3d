"""How one answer came about, token by token."""

from __future__ import annotations

from deepen_llm.outputs.page import frame, page
from deepen_llm.outputs.tokens import TokenTrace


class Trace(tuple[TokenTrace, ...]):
    """One `TokenTrace` for each committed token, and a page that shows them.

    In a notebook it shows itself. Elsewhere: ``Path("trace.html").write_text(out.trace.to_html(), encoding="utf-8")``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Its length; the tokens would fill pages."""
        return f"<Trace of {len(self)} {'token' if len(self) == 1 else 'tokens'}>"

    def to_html(self) -> str:
        """A whole page: the text, colored by who moved each token, and each token's distributions and search.

        It needs nothing beside itself, asks no network, and holds generated text as text, never as markup.
        """
        return page(self)

    def _repr_html_(self) -> str:
        """The page for a notebook, in a frame of its own."""
        return frame(self)
