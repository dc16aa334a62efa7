"""The pictures that a studio has drawn: each a PNG with its recipe and a JSON document, under the hash of its recipe.

The same recipe makes the same picture, so it is drawn once, as long as it is kept. Of too many, the oldest is removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import schema
from ..files import atomic_write, slug
from ..generation import GeneratedImage
from ..recipes import Recipe, as_png
from .details import maps_of, preview, regions_of_run
from .sampler import Cost

_FACTS = "facts.json"


@dataclass(frozen=True)
class Drawn:
    """A picture that is kept.

    Args:
        key: Hash of its recipe.
        name: Name of its file.
        recipe: Its recipe.
        seconds: How long it took.
        cost: In forwards, as text.
        steps: Of each guided step: its index, its losses, whether it was skipped.
        entities: Its entities.
        regions: Regions that were used, as data URLs of masks by entity.
        maps: Attention maps (see `details.maps_of`); None if they were not recorded.
        preview: The picture as a small WebP, as a data URL.
        dropped: Words beyond the text encoder's length.
    """

    key: str
    name: str
    recipe: Recipe
    seconds: float
    cost: str
    forwards: float
    steps: list[dict[str, Any]]
    entities: list[str]
    regions: Mapping[str, str]
    maps: Mapping[str, Any] | None
    preview: str
    dropped: list[str] = field(default_factory=list)


def key_of(recipe: Recipe) -> str:
    """Return the name of a recipe's picture: the same for equal recipes."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:40]


class PictureStore:
    """Pictures in a folder, at most `most` of them. Methods may be called from any thread."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, drawn: Drawn) -> Path:
        """Return the PNG of a picture."""
        return self.folder / drawn.key / drawn.name

    def put(self, picture: GeneratedImage, cost: Cost) -> Drawn:
        """Keep a picture and return it."""
        key = key_of(picture.recipe)
        drawn = Drawn(
            key=key,
            name=f"{slug(picture.recipe.prompt)}-{slug(picture.recipe.method)}-seed{picture.recipe.seed}.png",
            recipe=picture.recipe,
            seconds=round(picture.seconds, 3),
            cost=str(cost),
            forwards=round(cost.total, 2),
            steps=[{"step": s.step, "losses": s.losses, "skipped": s.skipped} for s in picture.steps],
            entities=[str(entity) for entity in picture.tokens.kept],
            regions=regions_of_run(picture),
            maps=maps_of(picture),
            preview=preview(picture.image),
            dropped=[*map(str, picture.tokens.dropped), *(span.text for span in picture.tokens.cut)],
        )
        with self._lock:
            atomic_write(self.path(drawn), as_png(picture.image, picture.recipe), "make room")
            atomic_write(self.folder / key / _FACTS, json.dumps(asdict(drawn)), "make room")
            self._keys[key] = None
            self._keys.move_to_end(key)
            while len(self._keys) > self.most:
                old, _ = self._keys.popitem(last=False)
                shutil.rmtree(self.folder / old, ignore_errors=True)
        return drawn

    def get(self, key: str, *, maps: bool = False) -> Drawn | None:
        """Return a picture; None if it is not kept, has gone from the disk, or has no maps where they are asked for."""
        if not re.fullmatch("[0-9a-f]{40}", key):
            return None
        with self._lock:
            if key not in self._keys:
                return None
            try:
                drawn = schema.check(schema.parse((self.folder / key / _FACTS).read_bytes()), Drawn)
                gone = not self.path(drawn).is_file()
            except (OSError, schema.SchemaError):  # temporary folders are emptied by others, too
                gone = True
            if gone:
                del self._keys[key]
                return None
            self._keys.move_to_end(key)
        return None if maps and drawn.maps is None else drawn

    def __len__(self) -> int:
        with self._lock:
            return len(self._keys)
