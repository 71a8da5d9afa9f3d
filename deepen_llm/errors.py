"""Errors of deepen-llm: each message names the value and what was expected; each hint says what to do."""


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
    """Logits, of a member or fused, that define no distribution."""


class StructureError(DeepenError, ValueError):
    """An answer that cannot be generated or parsed in the requested structure."""


class DatasetError(DeepenError, ValueError):
    """Examples that cannot be read, or that are too few or unsuitable for the measurement."""
