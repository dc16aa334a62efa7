"""One studio for the tests of this folder: loading the model takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.studio import studio_in
from unbleed.studio.studio import Studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio_in(tmp_path_factory.mktemp("pictures"), pictures=6) as made:
        yield made
