"""One answer's trace as a page: the text, the member that moved each token, and all distributions there."""

from deepen_llm.outputs.page.render import frame, page

__all__ = ["frame", "page"]
