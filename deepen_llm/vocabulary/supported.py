"""The supported range of ``transformers`` versions, checked before the first module imports ``transformers``."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from deepen_llm.errors import VersionError

OLDEST, BEYOND = (5, 0), (6,)
"""The range of supported ``transformers`` versions, as in pyproject.toml: at least the first, below the second."""
TESTED = (5, 24)
"""The newest minor version of ``transformers`` that the tests ran with."""


def spelled(release: tuple[int, ...]) -> str:
    """Format a version's numbers.

    >>> spelled((5, 0))
    '5.0'
    """
    return ".".join(map(str, release))


def check_transformers() -> None:
    """Check that the installed version of ``transformers`` is supported.

    Raises:
        VersionError: The version is outside the range.
    """
    try:
        installed = version("transformers")
    except PackageNotFoundError:  # a source tree without metadata; a missing package fails at its import
        return
    release = _release(installed)
    if not OLDEST <= release < BEYOND:
        wanted = f">={spelled(OLDEST)},<{spelled(BEYOND)}"
        raise VersionError(
            f"deepen-llm expects transformers {wanted}, got {installed}", hint=f"pip install 'transformers{wanted}'"
        )


def remedy() -> str:
    """The hint of errors that a supported but untested version of ``transformers`` causes."""
    tested = f"{spelled(OLDEST)} to {spelled(TESTED)}"
    wanted = f">={spelled(OLDEST)},<{TESTED[0]}.{TESTED[1] + 1}"
    return (
        f"deepen-llm is tested with transformers {tested}: pip install 'transformers{wanted}', or upgrade deepen-llm "
        "if there is a newer one"
    )


def _release(version_text: str) -> tuple[int, ...]:
    """The leading numbers of a version, such as (5, 24, 0) of ``5.24.0.dev0``."""
    match = re.match(r"\d+(\.\d+)*", version_text)
    return tuple(map(int, match[0].split("."))) if match else ()


check_transformers()
