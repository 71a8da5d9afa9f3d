"""One answer's trace as a page: the text, who moved each token, and what every member said there."""

from deepen_llm.outputs.page.render import frame, page

__all__ = ["frame", "page"]
