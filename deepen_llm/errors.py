"""One family of errors; each says what was wrong, what was expected and, as its hint, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DeepenError(Exception):
    """Base of everything that deepen-llm raises on purpose.

    Args:
        message: What was wrong, with the value, and what was expected.
        hint: What the user can do about it.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(f"{message}\nHint: {hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the keyword, so that errors cross process boundaries."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[DeepenError], message: str, hint: str) -> DeepenError:
    return kind(message, hint=hint)


class ConfigError(DeepenError, ValueError):
    """An option or a configuration that cannot be used."""


def suggestion(given: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The end of an error about an unknown name: the known name most like it, or nothing where none is like it.

    Args:
        given: The unknown name.
        known: The names that there are.
        cutoff: How alike two names must be, from 0 to 1, as `difflib` measures it.

    >>> f"unknown gate 'unsur'{suggestion('unsur', ['always', 'unsure'])}"
    "unknown gate 'unsur', did you mean 'unsure'?"
    """
    near = difflib.get_close_matches(str(given), [*known], n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near else ""


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that do not exist.

    Args:
        owner: What takes the options, such as a class's name.
        given: The names of the options given.
        known: The names of those that exist.

    Raises:
        ConfigError: An option does not exist; the known one most like it is named.
    """
    names = list(known)
    if unknown := next((name for name in given if name not in names), None):
        raise ConfigError(
            f"{owner}: unknown option {unknown!r}{suggestion(unknown, names)}",
            hint=f"known options: {', '.join(names)}",
        )


class LoadError(DeepenError, OSError):
    """A member that could not be loaded."""


class VersionError(DeepenError, ImportError):
    """A package whose installed version is outside the supported range."""


class VocabularyError(DeepenError, ValueError):
    """A tokenizer that cannot be read, does not fit its model, or shares too little with the others."""


class PromptError(DeepenError, ValueError):
    """A prompt or a message list that cannot be decoded from."""


class ContextLengthError(PromptError):
    """A prompt that leaves no room in a member's context window."""


class LogitsError(DeepenError, ArithmeticError):
    """Logits, a member's or the fused ones, that are no distribution."""


class StructureError(DeepenError, ValueError):
    """An answer that could not be given, or not be read, in the structure asked for."""


class DatasetError(DeepenError, ValueError):
    """Examples that cannot be read, or that cannot tell what they are asked."""
