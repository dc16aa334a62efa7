"""The oracle: a small network that detects the things in an image of the emoji world, with their colours and boxes.

One forward answers on a grid of 16x16 cells, as CenterNet's does (arXiv 1904.07850). Each cell has the probability that the
center of a thing lies in it, for each noun and for a *blend*, a thing that is none of the nouns, and the colour and box of
that thing. `decode` turns this into a `Finding`, without the network. The oracle knows nothing about prompts or diffusion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import ModelError
from .findings import Box, Finding, Sighting
from .sprites import COLOURS, NOUNS

ORACLE_FOLDER = Path(__file__).parent / "oracle_weights"
"""The folder of the shipped oracle."""
ORACLE_FILE = "oracle.safetensors"

SIDE = 128  # pixels of the image that the network gets
GRID = 16  # cells along a side
BLEND = len(NOUNS)  # the class after the nouns
LOOKS = (None, *COLOURS)  # the natural look, then the colours

SAME_THING = 0.4  # intersection over union above which two boxes are of one thing


class Answer(NamedTuple):
    """The output of the network for each cell of the grid."""

    heat: Tensor  # logits of the center of a thing, (batch, noun or blend, height, width)
    colour: Tensor  # logits of its colour, (batch, look, height, width)
    box: Tensor  # offset of its center from the cell's, x and y, then width and height, in cells, (batch, 4, height, width)


class Thresholds(NamedTuple):
    """The probability from which a thing counts as detected."""

    noun: float
    blend: float


class OracleNetwork(nn.Module):
    """2.0 M parameters, 0.8 GFLOP per image: 32x32, 16x16 and 8x8 cells, the last merged back into the second.

    Channels are multiples of 32, for which the matrix units of CPUs are made.
    """

    def __init__(self) -> None:
        super().__init__()
        # four by four pixels become channels: no pixel is dropped before it was read
        self.near = nn.Sequential(nn.PixelUnshuffle(4), _convolution(48, 64), _Residual(64))
        self.middle = nn.Sequential(_convolution(64, 128, stride=2), _Residual(128))
        # the largest things are as wide as the image: their halves are compared here
        self.far = nn.Sequential(_convolution(128, 160, stride=2), _Residual(160), _Residual(160))
        self.merge = nn.Conv2d(160, 128, 1)
        self.fuse = nn.Sequential(_Residual(128), _convolution(128, 128))
        self.heads = nn.ModuleList(nn.Conv2d(128, count, 1) for count in (BLEND + 1, len(LOOKS), 4))
        nn.init.constant_(self.heads[0].bias, -4.6)  # type: ignore[arg-type]  # 1 %: nearly all cells are empty

    def forward(self, pictures: Tensor) -> Answer:
        """Return the answer for images in [-1, 1], (batch, rgb, 128, 128)."""
        near = self.middle(self.near(pictures))  # (batch, 128, 16, 16)
        far = self.merge(self.far(near))  # (batch, 128, 8, 8)
        features = self.fuse(near + F.interpolate(far, scale_factor=2))
        return Answer(*(head(features) for head in self.heads))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Oracle:
    """A trained network with its thresholds.

    >>> from unbleed.emoji.oracle import Oracle
    >>> oracle = Oracle.load()  # doctest: +SKIP
    >>> oracle.look([image])[0].things  # doctest: +SKIP
    (Sighting(noun='cat', colour='red', box=(0.1, 0.3, 0.5, 0.7), confidence=0.98),)
    """

    def __init__(self, network: OracleNetwork, thresholds: Thresholds, fingerprint: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.thresholds = thresholds
        self.fingerprint = fingerprint  # of the weights file: findings of one oracle cannot be compared to another's

    @classmethod
    def load(cls, folder: Path = ORACLE_FOLDER) -> Oracle:
        """Return the oracle of `folder`, the shipped one by default.

        Raises `ModelError` when the file is not there or is none of an oracle.
        """
        path = folder / ORACLE_FILE
        if not path.is_file():
            raise ModelError(f"no oracle at {path}; train one with `unbleed emoji train-oracle --out {folder}`")
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is not a dictionary)
            thresholds = Thresholds(float(facts["noun_threshold"]), float(facts["blend_threshold"]))
            network = OracleNetwork()
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{path} cannot be used ({reason}); expected weights that `unbleed emoji train-oracle` of this version wrote"
            ) from error
        return cls(network, thresholds, hashlib.sha256(path.read_bytes()).hexdigest()[:16])

    @torch.no_grad()
    def look(self, images: Sequence[Image.Image], batch_size: int = 32) -> list[Finding]:
        """Return what is detected in each of `images`, of any size: they are resized to 128x128."""
        device = next(self.network.parameters()).device
        findings: list[Finding] = []
        for start in range(0, len(images), batch_size):
            pictures = to_tensor(images[start : start + batch_size]).to(device)
            findings += decode(self.network(pictures.contiguous(memory_format=torch.channels_last)), self.thresholds)
        return findings


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return images as the network takes them: (batch, rgb, 128, 128) in [-1, 1]."""
    resized = [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in images]
    return from_pixels(np.stack([np.asarray(image) for image in resized]))


def from_pixels(pixels: np.ndarray) -> Tensor:
    """Return uint8 images (batch, height, width, rgb) as (batch, rgb, height, width) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def decode(answer: Answer, thresholds: Thresholds) -> list[Finding]:
    """Return the things of each image that follow from the answer.

    A thing is a cell whose probability for a class reaches the threshold and is the largest among its 3x3 neighbours. Of
    things whose boxes cover each other, of any classes, only the most probable is kept: one thing has one name.
    """
    heat = answer.heat.float().sigmoid().cpu()
    looks = answer.colour.argmax(dim=1).cpu()  # (batch, height, width)
    boxes = _boxes(answer.box.float().cpu())  # (batch, height, width, 4)
    least = torch.full((BLEND + 1, 1, 1), thresholds.noun)
    least[BLEND] = thresholds.blend
    peaks = (heat >= least) & (heat == F.max_pool2d(heat, 3, stride=1, padding=1))
    found: list[list[tuple[float, int, int, Box]]] = [[] for _ in heat]  # probability, class, look, box
    for picture, kind, y, x in peaks.nonzero().tolist():
        left, top, right, bottom = boxes[picture, y, x].tolist()
        sure, look = heat[picture, kind, y, x].item(), int(looks[picture, y, x])
        found[picture].append((sure, kind, look, (left, top, right, bottom)))
    return [_finding(without_duplicates(things)) for things in found]


def _boxes(box: Tensor) -> Tensor:
    """Return left, top, right, bottom as fractions of the image's side, (batch, height, width, 4), of `Answer.box`."""
    height, width = box.shape[-2:]
    x = torch.arange(width) + 0.5 + box[:, 0]
    y = torch.arange(height)[:, None] + 0.5 + box[:, 1]
    half_width, half_height = (box[:, 2:].clamp(min=0.5) / 2).unbind(dim=1)
    edges = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)
    return (edges / torch.tensor([width, height, width, height])).clamp(0, 1)


def without_duplicates(things: Iterable[tuple[float, int, int, Box]]) -> list[tuple[float, int, int, Box]]:
    """Return `things` (probability, class, look, box), by falling probability, without those that cover a more probable one."""
    kept: list[tuple[float, int, int, Box]] = []
    for thing in sorted(things, reverse=True):
        if all(overlap(thing[3], other[3]) < SAME_THING for other in kept):
            kept.append(thing)
    return kept


def overlap(a: Box, b: Box) -> float:
    """Return the area that both boxes cover over the area that either covers.

    >>> overlap((0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5))
    0.3333333333333333
    """
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either else 0.0


def _finding(things: Sequence[tuple[float, int, int, Box]]) -> Finding:
    return Finding(
        tuple(Sighting(NOUNS[kind], LOOKS[look], box, sure) for sure, kind, look, box in things if kind != BLEND),
        tuple(box for _, kind, _, box in things if kind == BLEND),
    )
