"""A trace as an HTML page: the text, the member that changed each token, and all members' predictions."""

from deepen_llm.outputs.page.render import frame, page

__all__ = ["frame", "page"]
