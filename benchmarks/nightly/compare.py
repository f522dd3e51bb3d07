"""Has winnow become slower? The ratios of the quick benchmarks, beside those of an earlier run.

Every figure is a ratio of two times from one run, and a higher one is better: the machine's speed affects both. A
figure that has fallen by more than the threshold, or is gone, is a failure (exit status 1).

    python benchmarks/nightly/compare.py --output figures.json [--previous FILE] [--threshold 0.25]

Without --previous nothing is compared. `make bench-compare ARGS=…` runs it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
COMMANDS: Mapping[tuple[str, ...], str] = {
    ("fold_overhead.py",): r"^(?P<name>ratio): (?P<value>[\d.]+) times less",
    ("training_loop.py", "--rounds", "7"): r"^(?P<name>\w+) .*script/winnow (?P<value>[\d.]+)",
    ("stacking.py", "--widths", "20"): r"^(?P<name>\w+) .*20 as one .*\((?P<value>[\d.]+)×\)",
}
"""Benchmarks with their arguments, and where a line of their output has a figure and its name."""


def figures_in(output: str, pattern: str) -> dict[str, float]:
    """The figures of a benchmark's output by their names."""
    return {found["name"]: float(found["value"]) for found in re.finditer(pattern, output, re.MULTILINE)}


def fallen(previous: Mapping[str, float], now: Mapping[str, float], threshold: float) -> Iterator[str]:
    """A line for each figure that is gone or has fallen by more than a share of its earlier value."""
    for name, before in previous.items():
        if name not in now:
            yield f"{name}: {before:.2f} before, gone now"
        elif now[name] < before * (1 - threshold):
            yield f"{name}: {before:.2f} before, {now[name]:.2f} now ({now[name] / before - 1:+.0%})"


def measured() -> dict[str, float]:
    """Run the benchmarks, one after another.

    Raises:
        SystemExit: one prints no figure.
        subprocess.CalledProcessError: one fails.
    """
    figures: dict[str, float] = {}
    for (script, *arguments), pattern in COMMANDS.items():
        command = [sys.executable, str(BENCHMARKS / script), *arguments]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(output, end="", flush=True)
        found = figures_in(output, pattern)
        if not found:
            sys.exit(f"{script} printed no figure: {pattern}")
        figures |= {f"{script.removesuffix('.py')} {name}": value for name, value in found.items()}
    return figures


def main() -> None:
    """Measure, write the figures, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file for the figures")
    parser.add_argument("--previous", type=Path, help="file that an earlier run wrote")
    parser.add_argument("--threshold", type=float, default=0.25, help="the share that a figure may fall")
    asked = parser.parse_args()
    previous = {} if asked.previous is None else json.loads(asked.previous.read_text(encoding="utf-8"))
    now = measured()
    asked.output.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    if worse := list(fallen(previous, now, asked.threshold)):
        sys.exit("\n".join(("", f"fallen by more than {asked.threshold:.0%}:", *worse)))
    print(f"{len(now)} figures, none of {len(previous)} earlier ones has fallen by more than {asked.threshold:.0%}")


if __name__ == "__main__":
    main()
