"""The sprites of the emoji world: 24 nouns, each drawable in its natural look or in one of 11 colours.

The nouns and colours are those of the Attend-and-Excite benchmark. The glyphs come from the Noto Color Emoji
font (SIL OFL 1.1), which is read where it is installed and never shipped. No emoji is a bench, so the bench is
drawn here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import TrainingError

ANIMALS = {
    "cat": "\N{CAT FACE}",
    "dog": "\N{DOG FACE}",
    "bird": "\N{BIRD}",
    "bear": "\N{BEAR FACE}",
    "lion": "\N{LION FACE}",
    "horse": "\N{HORSE FACE}",
    "elephant": "\N{ELEPHANT}",
    "monkey": "\N{MONKEY FACE}",
    "frog": "\N{FROG FACE}",
    "turtle": "\N{TURTLE}",
    "rabbit": "\N{RABBIT FACE}",
    "mouse": "\N{MOUSE FACE}",
}
OBJECTS = {
    "backpack": "\N{SCHOOL SATCHEL}",
    "glasses": "\N{EYEGLASSES}",
    "crown": "\N{CROWN}",
    "suitcase": "\U0001f9f3",  # LUGGAGE, newer than the Unicode tables of Python 3.10
    "chair": "\U0001fa91",  # CHAIR, likewise
    "balloon": "\N{BALLOON}",
    "bow": "\N{RIBBON}",
    "car": "\N{AUTOMOBILE}",
    "bowl": "\U0001f963",  # BOWL WITH SPOON, likewise
    "bench": None,
    "clock": "\N{ALARM CLOCK}",
    "apple": "\N{RED APPLE}",
}
NOUNS = (*ANIMALS, *OBJECTS)

# sRGB of the three points of each colour's shading: shadow, body, highlight. Black, gray and white are set by
# hand, since shadow and highlight of a grey are other greys and the three must not run into each other.
_BODY = {
    "red": (222, 38, 38),
    "orange": (246, 128, 22),
    "yellow": (250, 212, 40),
    "green": (58, 168, 66),
    "blue": (44, 98, 222),
    "purple": (128, 56, 184),
    "pink": (248, 132, 184),
    "brown": (130, 80, 44),
}
SHADES = {name: (tuple(0.35 * c for c in rgb), rgb, tuple(c + 0.6 * (255 - c) for c in rgb)) for name, rgb in _BODY.items()}
SHADES["gray"] = ((62, 62, 66), (142, 142, 146), (204, 204, 208))
SHADES["black"] = ((4, 4, 8), (42, 42, 46), (116, 116, 122))
SHADES["white"] = ((150, 150, 156), (240, 240, 242), (255, 255, 255))
COLOURS = tuple(SHADES)

FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf"),
    Path("/Library/Fonts/NotoColorEmoji.ttf"),
)
_STRIKE_SIZE = 109  # the one bitmap size that the font holds: 136 x 128 pixels


def find_font(path: str | Path | None = None) -> Path:
    """Return the Noto Color Emoji font file, `path` itself when given.

    Raises `TrainingError` when there is none.
    """
    candidates = FONT_PATHS if path is None else (Path(path),)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise TrainingError(
        f"no Noto Color Emoji font at {', '.join(map(str, candidates))}; the emoji model is trained from its sprites. "
        "Install it (Debian: apt-get install fonts-noto-color-emoji) or name the file with --font"
    )


@cache
def sprite(noun: str, colour: str | None, font: Path) -> np.ndarray:
    """Return the sprite of `noun`, cropped to its outline: float32 (height, width, 4), straight alpha, in [0, 1].

    `colour=None` is the natural look. A colour keeps the sprite's shading: its luminance is stretched so that the
    median pixel gets the colour's body tone, darker and lighter ones run to the colour's shadow and highlight.
    """
    image = _bench() if noun == "bench" else _glyph((ANIMALS | OBJECTS)[noun], font)
    image = image.crop(image.getchannel("A").getbbox())
    pixels = np.asarray(image, dtype=np.float32) / 255
    return pixels if colour is None else tint(pixels, colour)


def tint(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Return `pixels` (height, width, 4) in the shades of `colour`."""
    luminance = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    opaque = luminance[pixels[..., 3] > 0.9]
    low, middle, high = np.percentile(opaque, [2, 50, 98])
    low, high = min(low, middle - 0.05), max(high, middle + 0.05)  # flat sprites stay flat
    level = np.interp(luminance, [low, middle, high], [0.0, 1.0, 2.0])
    shades = np.array(SHADES[colour], dtype=np.float32) / 255  # (3, rgb)
    rgb = np.stack([np.interp(level, [0, 1, 2], shades[:, c]) for c in range(3)], axis=-1)
    return np.concatenate([rgb, pixels[..., 3:]], axis=-1).astype(np.float32)


def _glyph(text: str, font: Path) -> Image.Image:
    image = Image.new("RGBA", (136, 128))
    face = ImageFont.truetype(str(font), _STRIKE_SIZE)
    ImageDraw.Draw(image).text((0, 0), text, font=face, embedded_color=True)
    return image


def _bench() -> Image.Image:
    """Draw a park bench seen from the front: two slats of back, a seat, two iron sides."""
    scale = 4
    image = Image.new("RGBA", (136 * scale, 128 * scale))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float, fill: str, radius: float = 3) -> None:
        draw.rounded_rectangle([v * scale for v in (left, top, right, bottom)], radius * scale, fill=fill)

    for left in (20, 108):  # legs and back posts
        box(left, 20, left + 8, 108, "#5b6670")
        box(left - 4, 102, left + 12, 110, "#4a545c")
    for top in (24, 42):  # back
        box(6, top, 130, top + 13, "#a8703c")
        box(6, top, 130, top + 4, "#c58a50")
    box(10, 58, 18, 66, "#4a545c")
    box(118, 58, 126, 66, "#4a545c")
    box(2, 68, 134, 82, "#b97c43")  # seat
    box(2, 68, 134, 73, "#d29a5e")
    box(6, 82, 130, 87, "#8a5a2e")
    return image.resize((136, 128), Image.Resampling.LANCZOS)
