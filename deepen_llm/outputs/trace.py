"""Trace of one answer."""

from __future__ import annotations

from deepen_llm.outputs.page import frame, page
from deepen_llm.outputs.tokens import TokenTrace


class Trace(tuple[TokenTrace, ...]):
    """One `TokenTrace` for each committed token, with an HTML page.

    A notebook displays the page. Elsewhere: ``Path("trace.html").write_text(out.trace.to_html(), encoding="utf-8")``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Its length; the tokens would fill pages."""
        return f"<Trace of {len(self)} {'token' if len(self) == 1 else 'tokens'}>"

    def to_html(self) -> str:
        """A whole page: the text, colored by who moved each token, and each token's distributions and search.

        The page is self-contained, makes no network requests, and escapes the generated text.
        """
        return page(self)

    def _repr_html_(self) -> str:
        """Render the page for a notebook, in a sandboxed frame."""
        return frame(self)
