"""Which versions of `transformers` this package works with; imported before the first module that needs it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from deepen_llm.errors import VersionError

OLDEST, BEYOND = (5, 0), (6,)
"""The range of supported `transformers` versions, as pyproject.toml has it: from the first, below the second."""
TESTED = (5, 24)
"""The newest minor version of `transformers` that the tests ran with."""


def spelled(release: tuple[int, ...]) -> str:
    """A version's numbers as text.

    >>> spelled((5, 0))
    '5.0'
    """
    return ".".join(map(str, release))


def check_transformers() -> None:
    """Raise where the installed `transformers` is older or newer than what is supported.

    Raises:
        VersionError: It is outside the range.
    """
    try:
        found = version("transformers")
    except PackageNotFoundError:  # a source tree without metadata, or none at all: then its import says so
        return
    release = _release(found)
    if not OLDEST <= release < BEYOND:
        wanted = f">={spelled(OLDEST)},<{spelled(BEYOND)}"
        raise VersionError(
            f"deepen-llm supports transformers {wanted}, found {found}", hint=f"pip install 'transformers{wanted}'"
        )


def remedy() -> str:
    """What to do where a version inside the range does something that this package does not know."""
    tested = f"{spelled(OLDEST)} to {spelled(TESTED)}"
    wanted = f">={spelled(OLDEST)},<{TESTED[0]}.{TESTED[1] + 1}"
    return (
        f"deepen-llm is tested with transformers {tested}: pip install 'transformers{wanted}', or upgrade deepen-llm "
        "if there is a newer one"
    )


def _release(found: str) -> tuple[int, ...]:
    """The leading numbers of a version, such as (5, 24, 0) of ``5.24.0.dev0``."""
    match = re.match(r"\d+(\.\d+)*", found)
    return tuple(map(int, match[0].split("."))) if match else ()


check_transformers()
