"""The rating page and its report, measured: intervals on simulated people, many raters at once, a server that is killed.

    python benchmarks/rating.py coverage      # 500 studies of each kind: a minute
    python benchmarks/rating.py load          # 20 raters at once on loopback
    python benchmarks/rating.py kills         # 20 kills (SIGKILL) at random moments while 5 raters answer

The exit code is 1 where an answer is lost or kept twice, or an interval of the first kind of study misses 95 % by more than 2.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.rating import Client, served, write_a_study
from helpers.rating_kills import kill_and_count
from helpers.rating_people import People, coverage, coverage_of_strengths
from unbleed.rating.answers import journal_of

KINDS: dict[str, tuple[People, dict[str, Any]]] = {
    "40 prompts, 10 raters": (People(), {"prompts": 40, "raters": 10}),
    "prompts alone differ": (People(rater_sd=0.0), {"prompts": 40, "raters": 10}),
    "raters alone differ": (People(prompt_sd=0.0, rater_sd=0.6), {"prompts": 40, "raters": 10}),
    "nothing differs": (People(prompt_sd=0.0, rater_sd=0.0), {"prompts": 40, "raters": 10}),
    "both differ much": (People(prompt_sd=1.0, rater_sd=0.6), {"prompts": 40, "raters": 10}),
    "one wins nearly all": (People(better=(1.8,)), {"prompts": 40, "raters": 10}),
    "a tenth of answers careless": (People(better=(0.0,), careless=0.1), {"prompts": 40, "raters": 10}),
    "left is preferred": (People(better=(0.0,), left_bias=0.5), {"prompts": 40, "raters": 10}),
    "20 prompts, 5 raters": (People(), {"prompts": 20, "raters": 5}),
    "10 prompts, 3 raters": (People(), {"prompts": 10, "raters": 3}),
    "30 prompts of 2 seeds, 20 raters of 20 pairs": (People(), {"prompts": 30, "seeds": 2, "raters": 20, "pairs": 20}),
    "100 prompts, 20 raters of 40 pairs": (People(), {"prompts": 100, "raters": 20, "pairs": 40}),
    "100 prompts, one rater (of others like this one)": (People(rater_sd=0.0), {"prompts": 100, "raters": 1}),
}


def intervals(studies: int) -> bool:
    print("| study | true win rate, % | intervals that hold it, % |\n|---|---|---|")
    held = []
    for name, (people, size) in KINDS.items():
        held.append(coverage(people, studies=studies, **size))
        print(f"| {name} | {100 * people.win_rate():.1f} | {100 * held[-1]:.1f} |", flush=True)
    share = coverage_of_strengths(People(better=(0.4, 0.8)), 30, 8, studies)
    print(f"| strengths of three methods, 30 prompts, 8 raters | | {100 * share:.1f} |")
    return abs(held[0] - 0.95) <= 0.02


def load(raters: int, pairs: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write_a_study(folder, prompts=pairs)
        waited: list[float] = []
        heard: list[int] = []

        def rate(port: int) -> None:
            client = Client(port)
            client.join()
            for number, _ in enumerate(client.trials()):
                client.image(number, "left")
                client.image(number, "right")
                begun = time.perf_counter()
                status, _ = client.answer(number, "left")
                waited.append(time.perf_counter() - begun)
                heard.append(status)
            client.close()

        begun = time.perf_counter()
        with served(folder, study) as server:
            threads = [threading.Thread(target=rate, args=(server.server_port,)) for _ in range(raters)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        seconds = time.perf_counter() - begun
        lines = [json.loads(line) for line in journal_of(folder).read_text().splitlines()]
        kept = Counter((line["rater"], line["trial"]) for line in lines if line["event"] == "answered")
    asked = raters * study.trials_per_rater
    figures = {
        "raters": raters,
        "answers": asked,
        "acknowledged": heard.count(200),
        "lost": asked - len(kept),
        "twice": sum(count > 1 for count in kept.values()),
        "seconds": round(seconds, 1),
        "milliseconds per answer, median": round(1000 * sorted(waited)[len(waited) // 2], 1),
        "slowest, ms": round(1000 * max(waited), 1),
        "peak memory of server and raters, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    return figures["lost"] == figures["twice"] == 0 and figures["acknowledged"] == asked


def kills(count: int, raters: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        write_a_study(Path(name))
        figures = kill_and_count(Path(name), count, raters)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    return figures["lost"] == figures["twice"] == figures["refused"] == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["coverage", "load", "kills"])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--raters", type=int, help="of load [20] and kills [5]")
    parser.add_argument("--pairs", type=int, default=100, help="of each rater of load")
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    if given.part == "coverage":
        return int(not intervals(given.studies))
    if given.part == "load":
        return int(not load(given.raters or 20, given.pairs))
    return int(not kills(given.kills, given.raters or 5))


if __name__ == "__main__":
    sys.exit(main())
