"""Do two reports in these docs rank the methods alike? Spearman's correlation over the methods that both have.

python tools/rank_correlation.py DIR DIR [METRIC]        # DIR: docs/results/NAME; METRIC: all_correct

The interval is that of Bonett and Wright (2000): Fisher's z with the standard error sqrt((1 + rho^2 / 2) / (n - 3)). It says
how much the choice of methods matters, not the choice of pictures: `unbleed bench compare` does that for two runs whose images
are there.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

from scipy.stats import spearmanr


def means(folder: Path, metric: str) -> dict[str, float]:
    """Return {method: mean} over all prompts of a landed report, without methods that draw several images."""
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "all" and row["metric"] == metric]
    return {row["method"]: float(row["mean"]) for row in rows if not row["method"].startswith("best-of-")}


def interval(rho: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of Spearman's rho over `count` methods.

    >>> [round(end, 2) for end in interval(0.5, 20)]
    [0.05, 0.78]
    """
    z, reach = math.atanh(rho), 1.96 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return math.tanh(z - reach), math.tanh(z + reach)


def main() -> None:
    one, other = Path(sys.argv[1]), Path(sys.argv[2])
    metric = sys.argv[3] if len(sys.argv) > 3 else "all_correct"
    left, right = means(one, metric), means(other, metric)
    common = [name for name in left if name in right]
    rho = float(spearmanr([left[name] for name in common], [right[name] for name in common]).statistic)
    low, high = interval(rho, len(common))
    base = left.get("none", 0.0), right.get("none", 0.0)
    print(f"| method | {one.name} | {other.name} |\n|---|---|---|")
    for name in sorted(common, key=lambda name: -left[name]):
        print(f"| {name} | {100 * left[name]:.1f} ({100 * (left[name] - base[0]):+.1f}) ", end="")
        print(f"| {100 * right[name]:.1f} ({100 * (right[name] - base[1]):+.1f}) |")
    print(f"\nSpearman's rho of {metric} over {len(common)} methods: {rho:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
