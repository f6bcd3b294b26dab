"""What the labels of benchmarks/labels.py say: how many turn over, and the tables of docs/label_study.md.

python benchmarks/label_tables.py benchmarks/results/labels.json --page docs/label_study.md
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.files import write_atomically
from graspgen_cli.records import Outcome

REFERENCE, DEFAULT = "reference", "default"
END = "<!-- end of the tables -->"
PERCENTILES = (50, 90, 99)

MODELS = "models"
"""The group of variants that have a reference of their own."""

Kept = dict[str, dict[str, dict[str, Any]]]
"""Variant -> "gripper object" -> arrays."""


@dataclass(frozen=True)
class About:
    """A variant in words, and the name of the one that it is compared with."""

    group: str
    words: str
    against: str = REFERENCE


def summary(kept: Kept, about: dict[str, About], machine: dict[str, Any], grasps: int) -> dict[str, Any]:
    """Everything that the tables need."""
    variants = {}
    for name, cases in kept.items():
        which = about[name]
        counts = compared(cases, kept[which.against], kept[DEFAULT])
        variants[name] = {"group": which.group, "about": which.words, "against": which.against, **counts}
    return {"machine": machine, "guesses_wanted": grasps, "variants": variants}


def compared(cases: dict[str, dict[str, Any]], reference: dict[str, dict[str, Any]], default: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One variant against the reference and against the defaults, over all cases and for each."""
    held = {case: arrays["outcome"] == Outcome.HELD for case, arrays in cases.items()}
    true = {case: reference[case]["outcome"] == Outcome.HELD for case in cases}
    usual = {case: default[case]["outcome"] == Outcome.HELD for case in cases}
    flips = {case: float((held[case] != true[case]).mean()) for case in cases}
    worst = max(flips, key=lambda case: flips[case])
    trials = sum(len(labels) for labels in held.values())
    slip = np.concatenate([arrays["slip"][held[case]] for case, arrays in cases.items()])
    return {
        "trials": trials,
        "held": share(held.values()),
        "unstable": int(sum((arrays["outcome"] == Outcome.UNSTABLE).sum() for arrays in cases.values())),
        "flips": share(held[case] != true[case] for case in cases),
        "held_here_only": share(held[case] & ~true[case] for case in cases),
        "held_in_reference_only": share(~held[case] & true[case] for case in cases),
        "flips_from_default": share(held[case] != usual[case] for case in cases),
        "worst_case": worst,
        "worst_flips": round(flips[worst], 4),
        "cpu_ms_per_grasp": round(sum(float(arrays["seconds"]) for arrays in cases.values()) / trials * 1e3, 2),
        "steps_per_grasp": round(sum(float(arrays["steps"].sum()) for arrays in cases.values()) / trials, 1),
        "slip_mm": [round(float(value) * 1e3, 2) for value in percentiles(slip[:, 0])],
        "turn_degrees": [round(float(value), 2) for value in percentiles(np.degrees(slip[:, 1]))],
        "flips_by_case": {case: round(value, 4) for case, value in flips.items()},
    }


def share(marks: Any) -> float:
    """Share of true ones in arrays of truth values."""
    return round(float(np.concatenate(list(marks)).mean()), 4)


def percentiles(values: np.ndarray) -> np.ndarray:
    """The percentiles of the tables; of nothing, zeros."""
    return np.percentile(values, PERCENTILES) if len(values) else np.zeros(len(PERCENTILES))


def markdown(said: dict[str, Any]) -> str:
    """The tables."""
    default = said["variants"][DEFAULT]
    objects = {case.partition(" ")[2] for case in default["flips_by_case"]}
    where = f"{said['machine']['cpu']}, {said['machine']['cores']} cores"
    parts = [
        f"{default['trials']} guesses: up to {said['guesses_wanted']} of each of {len(objects)} objects and "
        f"{len(default['flips_by_case']) // len(objects)} grippers. CPU time on one core of: {where}.",
        "### Labels that turn over",
        variant_table({name: row for name, row in said["variants"].items() if row["group"] != MODELS}),
        *model_part(said["variants"]),
        "### The defaults and finer steps, object by object",
        case_table(said["variants"]),
        "### Drift of the grasps that are held",
        drift_table(said["variants"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table with its first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """A share in words."""
    return f"{100 * value:.1f} %"


def variant_table(variants: dict[str, Any]) -> str:
    """A row a variant, grouped."""
    head = ["setting", "differ from the reference", "worst object", "of which held only here", "differ from the defaults", "held"]
    head += ["unstable", "CPU ms a grasp"]
    rows = []
    for row in sorted(variants.values(), key=lambda row: [other["group"] for other in variants.values()].index(row["group"])):
        worst = f"{percent(row['worst_flips'])} ({row['worst_case']})" if row["worst_flips"] else "–"
        shares = [percent(row[name]) for name in ("held_here_only", "flips_from_default", "held")]
        rows.append([row["about"], percent(row["flips"]), worst, *shares, str(row["unstable"]), f"{row['cpu_ms_per_grasp']:.1f}"])
    return table(head, rows)


def model_part(variants: dict[str, Any]) -> list[str]:
    """Headline and table of other models of contact, each against its own finest steps; nothing where none was studied."""
    rows = [row for row in variants.values() if row["group"] == MODELS and row["against"] != REFERENCE]
    if not rows:
        return []
    head = ["model of contact", "differ from the same at 1/2000 s", "worst object", "held", "CPU ms a grasp"]
    lines = []
    for row in (variants[DEFAULT], *rows):
        worst = f"{percent(row['worst_flips'])} ({row['worst_case']})"
        lines.append([row["about"], percent(row["flips"]), worst, percent(row["held"]), f"{row['cpu_ms_per_grasp']:.1f}"])
    return ["### Models of contact, each against its own finest steps", table(head, lines)]


def case_table(variants: dict[str, Any]) -> str:
    """A row a case, a column a time step."""
    steps = {name: row for name, row in variants.items() if row["group"] == "step" and name != REFERENCE}
    rows = [[case, *[percent(row["flips_by_case"][case]) for row in steps.values()]] for case in variants[DEFAULT]["flips_by_case"]]
    return table(["gripper and object", *[row["about"] for row in steps.values()]], rows)


def drift_table(variants: dict[str, Any]) -> str:
    """Percentiles of what held objects move in the gripper."""
    rows = []
    for name in (DEFAULT, REFERENCE):
        row = variants[name]
        rows.append([row["about"], *[f"{value:.2f}" for value in (*row["slip_mm"], *row["turn_degrees"])]])
    names = [f"{what}, {p} %" for what in ("slip (mm)", "turn (°)") for p in PERCENTILES]
    return table(["setting", *names], rows)


def write_into_page(page: Path, script: str, tables: str) -> None:
    """Replaces what stands between the page's comment of that script and the next end by the tables."""
    text, opening = page.read_text(), f"<!-- tables of benchmarks/{script}.py -->"
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: has no lines `{opening}` and `{END}`; put them where the tables shall stand")
    write_atomically(page, f"{before}{opening}\n\n{tables}\n{END}{after}".encode())


def show(said: dict[str, Any], page: Path | None) -> None:
    """Puts the tables into the page or, without one, on the terminal."""
    if page:
        write_into_page(page, "labels", markdown(said))
    else:
        print(markdown(said))


def main() -> None:
    """Reads the flags and writes the tables of results that were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, help="put the tables into this page, between its two comments")
    options = parser.parse_args()
    show(json.loads(options.results.read_text()), options.page)


if __name__ == "__main__":
    main()
