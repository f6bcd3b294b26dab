"""How often each built-in gripper holds what it tries on the example objects, by the default settings: prints what
`src/graspgen_cli/analysis/reference_rates.json` holds.

Run ``graspgen all --gripper-config NAME --grasp-dataset FOLDER`` for every built-in gripper first, then
``python benchmarks/reference_rates.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import orjson

from graspgen_cli.analysis.counts import OutcomeCounts, count_grasps, total_counts
from graspgen_cli.dataset.collection import open_collection, read_entry


def rates(counts: list[OutcomeCounts]) -> dict[str, float]:
    """The fields of `ReferenceRate`."""
    shares = [row.held_rate for row in counts]
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    quantiles = {name: round(float(value), 3) for name, value in zip(names, np.quantile(shares, [0, 0.25, 0.5, 0.75, 1]), strict=True)}
    return {"held_rate": round(total_counts(counts).held_rate, 3), **quantiles, "objects": len(counts)}


def main() -> None:
    """Reads the dataset and prints."""
    collection = open_collection(Path(sys.argv[1]))
    counts: dict[str, list[OutcomeCounts]] = {name: [] for name in collection.grippers}
    for entry in collection.entries:
        dataset = read_entry(entry).dataset
        counts[entry.gripper].append(count_grasps(dataset.grasps))
    print(orjson.dumps({name: rates(rows) for name, rows in counts.items()}, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
