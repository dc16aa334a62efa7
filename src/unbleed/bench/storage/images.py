"""Images of a run, read back from disk and checked against their rows."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from ...errors import BenchError
from ...files import open_image, read_bytes

PNG_BEGIN, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def read_png(path: Path, sha256: str | None = None) -> bytes:
    """Return the bytes of an image file; raise `BenchError` if it is missing or differs from its row.

    If the row has no hash (None), the file must begin and end like a PNG.
    """
    remedy = "run the benchmark (or the import) again to make it anew"
    try:
        data = read_bytes(path, error=BenchError, remedy=remedy)
    except FileNotFoundError:
        raise BenchError(f"{path} is missing; {remedy}") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BenchError(f"{path} is not the image of its row: the sha256 differs; {remedy}")
    if not data.startswith(PNG_BEGIN) or PNG_END not in data:
        raise BenchError(f"{path} is damaged: not a complete PNG; {remedy}")
    return data


def read_image(path: Path, sha256: str | None = None) -> Image.Image:
    """Return an image as RGB; raise `BenchError` as `read_png` does, and if the file cannot be decoded."""
    data = read_png(path, sha256)
    try:
        with open_image(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} is damaged ({error}); remove it and run again to make it anew") from error


def thumbnail(path: Path, size: int, sha256: str | None = None) -> bytes:
    """Return an image as WebP of at most `size` pixels per side; raise `BenchError` as `read_image` does."""
    small = read_image(path, sha256)
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=80)
    return stream.getvalue()
