"""Errors of deepen-llm: each message names the value and what was expected; each hint says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DeepenError(Exception):
    """Base class of all errors that deepen-llm raises.

    Args:
        message: What was expected and what was given, in lower case without a full stop.
        hint: What the user can do.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(f"{message}\nHint: {hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the keyword argument too, so that errors cross process boundaries."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[DeepenError], message: str, hint: str) -> DeepenError:
    return kind(message, hint=hint)


class ConfigError(DeepenError, ValueError):
    """An option or a configuration that cannot be used."""


def suggestion(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Suggest the most similar known name, as the end of an error about an unknown one; empty if none is similar.

    Args:
        name: The unknown name.
        known: The known names.
        cutoff: The least similarity of two names, from 0 to 1, as ``difflib`` measures it.

    >>> f"unknown gate 'unsur'{suggestion('unsur', ['always', 'unsure'])}"
    "unknown gate 'unsur', did you mean 'unsure'?"
    """
    near = nearest(name, known, cutoff=cutoff)
    return f", did you mean {near!r}?" if near else ""


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Find the known name that is most similar to an unknown one; None if none is similar (see `suggestion`)."""
    return next(iter(difflib.get_close_matches(str(name), [*known], n=1, cutoff=cutoff)), None)


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
    """A tokenizer that cannot be read, does not fit its model, or shares too few tokens with the others."""


class PromptError(DeepenError, ValueError):
    """A prompt or a list of messages that cannot be used."""


class ContextLengthError(PromptError):
    """A prompt that is too long for a member's context window."""


class LogitsError(DeepenError, ArithmeticError):
    """Logits, of a member or fused, that define no distribution.

    Args:
        message: See `DeepenError`.
        hint: See `DeepenError`.
        sequences: Indices of the sequences whose logits they are; empty where that is not known.
    """

    def __init__(self, message: str, *, hint: str, sequences: Iterable[int] = ()) -> None:
        super().__init__(message, hint=hint)
        self.sequences = frozenset(sequences)


class EngineError(DeepenError, RuntimeError):
    """A request that the engine could not go on with, because of what happened to another one or to the process."""


class QueueFullError(EngineError):
    """A request that the engine refuses, since as many wait as may."""


class MemoryLimitError(EngineError, MemoryError):
    """A request whose sequences can never fit into memory together."""


class StructureError(DeepenError, ValueError):
    """An answer that cannot be generated or parsed in the requested structure."""


class DatasetError(DeepenError, ValueError):
    """Examples that cannot be read, or that are too few or unsuitable for the measurement."""
