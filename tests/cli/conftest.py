"""Commands in processes of their own, for what an interrupt or a closed pipe does to them."""

from collections.abc import Iterator

import pytest

from tests.cli.processes import Processes


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    with Processes() as made:
        yield made
