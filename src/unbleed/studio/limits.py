"""How much one request to the studio may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of what the server keeps.

    Args:
        prompt: Characters of a prompt, a negative prompt or a text of entities.
        region: Characters of the text of one region.
        regions: Regions of one picture.
        steps: Denoising steps.
        side: Pixels of a side.
        seeds: Seeds at a time.
        methods: Methods in one comparison.
        forwards: Cost of one picture in forwards of the denoiser, with every refinement.
        dropped: Bytes of a dropped picture.
        waiting: Drawings that wait in the queue.
        pictures: Pictures that are kept on disk; the oldest goes first.
        pages: Open pages whose state is kept in memory; the one not used for longest goes first.
        body: Bytes of a request.
    """

    prompt: int = 2000
    region: int = 65_536
    regions: int = 16
    steps: int = 150
    side: int = 2048
    seeds: int = 4
    methods: int = 6
    forwards: float = 5000.0
    dropped: int = 24 * 2**20
    waiting: int = 64
    pictures: int = 400
    pages: int = 200
    body: int = 36 * 2**20
