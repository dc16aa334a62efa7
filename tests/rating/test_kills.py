"""The server killed while raters answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.rating import write_a_study
from helpers.rating_kills import kill_and_count


@pytest.mark.slow
def test_every_acknowledged_answer_is_there_once_after_20_kills(tmp_path: Path) -> None:
    write_a_study(tmp_path)
    found = kill_and_count(tmp_path, kills=20, raters=5)
    assert (found["lost"], found["twice"], found["refused"]) == (0, 0, 0)
    assert found["acknowledged"] > 200
