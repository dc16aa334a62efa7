"""The studio under load: many clients at once on loopback, each with a drawing of its own.

    python benchmarks/studio.py load                                        # 50 clients at once, three rounds: minutes
    python benchmarks/studio.py load --clients 20 --rounds 16 --keep 100    # memory once the server keeps all that it may

Each client asks over HTTP for a picture of another seed, waits in the queue, fetches the PNG, and reads the recipe in it.
The server keeps a bounded number of pictures and of clients' pages; `--keep` lowers both, so that they are full sooner.
The exit code is 1 where a picture is missing, is another client's, was drawn twice, or the memory grows by more than 10 MB
after the server is full.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.studio_load import draw_at_once
from unbleed.cli.common import load_pipeline
from unbleed.studio.form import House
from unbleed.studio.limits import Limits
from unbleed.studio.sampler import Sampler
from unbleed.studio.serve import serving

MOST_GROWTH_MB = 10.0


class CountingSampler(Sampler):
    """A sampler that keeps the seeds it has drawn."""

    def __init__(self, pipe: object) -> None:
        super().__init__(pipe)
        self.seeds: Counter[int] = Counter()

    def draw(self, recipe, **options):  # type: ignore[no-untyped-def]
        self.seeds[recipe.seed] += 1
        return super().draw(recipe, **options)


def memory_mb() -> float:
    """Return the resident memory of this process, server and clients."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def load(clients: int, rounds: int, keep: int | None) -> bool:
    pipe = load_pipeline("emoji", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    sampler = CountingSampler(pipe)
    missing = others = 0
    memory: list[float] = []
    waited: list[float] = []
    begun = time.perf_counter()
    limits = Limits() if keep is None else Limits(pictures=keep, pages=keep)
    full = -(-max(limits.pictures, limits.pages) // clients)  # the round after which nothing more is kept
    with serving(House(), [sampler], limits=limits) as address:
        for number in range(rounds):
            seeds = list(range(number * clients, (number + 1) * clients))
            drawn, seconds = draw_at_once(address.url, seeds)
            missing += len(set(seeds) - set(drawn))
            others += len(drawn) - len(set(drawn))
            waited += seconds
            memory.append(memory_mb())
            print(f"round {number + 1}: {len(drawn)} of {clients} pictures, {memory[-1]:.0f} MB", flush=True)
    twice = sum(count > 1 for count in sampler.seeds.values())
    growth = memory[-1] - memory[full - 1] if rounds > full else None
    figures = {
        "clients at once": clients,
        "pictures asked for": clients * rounds,
        "lost": missing,
        "another client's": others,
        "drawn twice": twice,
        "seconds": round(time.perf_counter() - begun, 1),
        "longest wait, s": round(max(waited), 1),
        "memory after each round, MB": ", ".join(f"{one:.0f}" for one in memory),
        "kept": f"{limits.pictures} pictures, {limits.pages} pages: full after round {full}",
        "growth since then, MB": "not reached" if growth is None else round(growth, 1),
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    return missing == others == twice == 0 and (growth is None or growth <= MOST_GROWTH_MB)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["load"])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=int, help="pictures and pages that the server keeps [400 and 200]")
    given = parser.parse_args()
    return int(not load(given.clients, given.rounds, given.keep))


if __name__ == "__main__":
    sys.exit(main())
