"""What is shown beside a picture, and bytes that are dropped on the page."""

from __future__ import annotations

import base64
import re

import pytest

from helpers.studio import png_with
from unbleed.errors import OutputError, StudioError
from unbleed.sampling import Sampling
from unbleed.studio.details import loss_curve
from unbleed.studio.form import House
from unbleed.studio.limits import Limits
from unbleed.studio.replay import replay_of

LIMITS = Limits()


def test_the_loss_is_a_curve() -> None:
    steps = [{"step": 1, "losses": [4.0, 2.0]}, {"step": 2, "losses": [1.0]}, {"step": 3, "losses": [float("nan")]}]
    drawn = loss_curve(steps, 30)
    assert drawn.count("<circle") == 3
    assert "denoising step, of 30" in drawn
    assert "no loss" in loss_curve([], 30)


def test_the_axes_of_the_loss_hold_all_steps_and_labels_of_one_precision() -> None:
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", loss_curve([{"step": 1, "losses": [-2.28]}], 14))
    assert labels[:5] == ["−2.05", "−2.17", "−2.28", "−2.39", "−2.51"][::-1]
    assert [int(label) for label in labels[5:-1]] == [0, 3, 6, 8, 11, 14]
    assert re.findall(r'text-anchor="end">([^<]*)<', loss_curve([{"step": 1, "losses": [0.0, 1e-9]}], 2))[-1] == "1.08e−09"


def test_bytes_that_are_no_picture() -> None:
    for data, says in ((b"", "cannot be read as a picture"), (b"%!PS-Adobe-3.0 EPSF", "cannot be read as a picture")):
        with pytest.raises(OutputError, match=says):
            replay_of("x", base64.b64encode(data).decode(), House(), "float32", LIMITS, Sampling())
    with pytest.raises(StudioError, match="did not arrive whole"):
        replay_of("x", "§§§", House(), "float32", LIMITS, Sampling())
    with pytest.raises(StudioError, match="too large"):
        replay_of("x", "A" * (LIMITS.dropped * 2), House(), "float32", LIMITS, Sampling())
    with pytest.raises(OutputError, match=r'^"x" holds no recipe'):
        replay_of("x", base64.b64encode(png_with()).decode(), House(), "float32", LIMITS, Sampling())
