"""One family of errors; each says what was wrong, what was expected and, as its hint, what to do."""


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
