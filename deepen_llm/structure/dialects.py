"""Rewriting of patterns into the dialect that llguidance supports."""

from __future__ import annotations

from functools import lru_cache

from deepen_llm.structure.charsets import CharSet
from deepen_llm.structure.languages import complement_of_prefix
from deepen_llm.structure.nodes import ANY, MANY, Anchor, Choice, Look, Node, Repeat, Sequence, parts_of
from deepen_llm.structure.regex import PatternError, parse

_PLACES = "a look around that is neither right after the leading ^ nor right before the last $"


@lru_cache(maxsize=1024)
def supported_patterns(pattern: str) -> tuple[str, ...]:
    r"""Rewrite a pattern as patterns without look-around; a string that matches them all matches it in every dialect.

    A look-ahead at the start becomes a pattern of its own, a negative one the pattern of all strings that it does not
    exclude. Sets such as ``\w`` and ``\W`` are restricted to the characters that Unicode and ASCII dialects agree on.

    Args:
        pattern: A regular expression of JavaScript, Python or Rust; it may match anywhere in the string.

    Raises:
        PatternError: It is invalid, or has a part that is not supported, which the message names.
    """
    flags, node = parse(pattern)
    head = f"(?{flags})" if flags else ""
    if flags and any(isinstance(part, Look) and part.negative for part in parts_of(node)):
        raise PatternError("a negative look around that ignores case")
    looks, rest = _parted(node)
    return tuple(head + text for text in (*looks, _written(rest)))


def string_of(*patterns: str) -> dict[str, object]:
    """Make the schema of a string that matches all of these patterns.

    Args:
        patterns: At least one pattern.
    """
    first, *others = dict.fromkeys(patterns)
    return {"type": "string", "pattern": first} | (
        {"allOf": [{"pattern": other} for other in others]} if others else {}
    )


def _parted(node: Node) -> tuple[list[str], Node]:
    """Split a pattern into its look-arounds, as patterns of their own, and the rest."""
    parts = list(parts_of(node))
    looks = []
    if parts and parts[0] == Anchor(True):
        while len(parts) > 1 and isinstance(look := parts[1], Look) and look.ahead:
            looks.append(_ahead(look))
            del parts[1]
    if parts and parts[-1] == Anchor(False):
        while len(parts) > 1 and isinstance(look := parts[-2], Look) and not look.ahead:
            looks.append(_behind(look))
            del parts[-2]
    return looks, Sequence(tuple(parts))


def _ahead(look: Look) -> str:
    return complement_of_prefix(look.part) if look.negative else f"^(?:{_written(look.part)})"


def _behind(look: Look) -> str:
    """Rewrite a look-behind at the end as a pattern from the start."""
    if not look.negative:
        return f"(?:{_written(look.part)})$"
    return complement_of_prefix(Sequence((Repeat(ANY, 0, MANY), look.part, Anchor(False))))


def _written(node: Node) -> str:
    if isinstance(node, CharSet):
        return node.text()
    if isinstance(node, Sequence):
        return "".join(f"(?:{_written(part)})" if isinstance(part, Choice) else _written(part) for part in node.parts)
    if isinstance(node, Choice):
        return "|".join(map(_written, node.options))
    if isinstance(node, Repeat):
        return _repeated(node)
    if isinstance(node, Anchor):
        return "^" if node.start else "$"
    raise PatternError(_PLACES)


def _repeated(node: Repeat) -> str:
    inner = _written(node.part)
    times = {(0, MANY): "*", (1, MANY): "+", (0, 1): "?"}.get((node.least, node.most))
    if times is None:
        most = "" if node.most == MANY else node.most
        times = f"{{{node.least}}}" if node.least == node.most else f"{{{node.least},{most}}}"
    return f"{inner}{times}" if isinstance(node.part, CharSet) else f"(?:{inner}){times}"
