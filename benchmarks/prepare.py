"""What `winnow ingest` and `winnow prepare` take to turn CSV files into the rows to train on, beside DuckDB alone.

The rows are weather readings, the query is that of experiments/weather. DuckDB alone does the same work in two ways: in
one query from the CSV files to the sorted result, and in two steps with the raw rows as Parquet between them, as winnow
does. It has the same limit of memory and need not keep the order of the raw rows; a step that ends for lack of memory
is shown as such. What it does not do: compute digests, refuse damaged files, keep versions. Every step is a process of
its own. Exit status 1: the results differ, or a step of winnow fails or takes more than 1 GB of memory; time is only
shown.

    python benchmarks/prepare.py [--gb 0.2] [--folder FOLDER]

FOLDER is where everything is written and removed again: four times the size of the CSV files has to be free.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from winnow.data.stage.schema import read_schema
from winnow.data.weather_readings import write_readings

WEATHER = Path(__file__).parents[1] / "experiments" / "weather"
BASE_ROWS, BYTES_PER_ROW = 1_000_000, 105
MISSING = ("", "-9999", "-")
LIMIT_MB, MOST_MB = 512, 1000
ONE, PARQUET, TWO = "DuckDB, one query", "DuckDB, CSV to Parquet", "DuckDB, Parquet to result"
CONFIG = """
name: weather
data:
  raw: {{source: {csv}, read: {{missing: ["-9999", "-"]}}}}
  schema: {weather}/schema.yaml
  prepare: {{sql: {weather}/prepare.sql, sort: [date, station]}}
  source: prepared
search: {{space: {{lr: {{float: [0.1, 0.2]}}}}, trials: 1, metric: f1}}
"""
BARE = """
import duckdb, sys
settings = {{"memory_limit": "{limit}MB", "temp_directory": {temporary!r}, "TimeZone": "UTC"}}
settings |= {{"preserve_insertion_order": False, "autoinstall_known_extensions": False}}
try:
    duckdb.connect(config=settings).execute(sys.stdin.read())
except duckdb.OutOfMemoryException:
    sys.exit({no_memory})
"""
NO_MEMORY = 75


@dataclass(frozen=True)
class Measured:
    """A step: seconds of the clock and of processors, and the most memory of its processes in MB."""

    seconds: float
    cpu: float
    memory: float

    def __add__(self, other: Measured) -> Measured:
        """Both, one after the other."""
        return Measured(self.seconds + other.seconds, self.cpu + other.cpu, max(self.memory, other.memory))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=0.2, help="size of the CSV files")
    parser.add_argument("--folder", type=Path, help="where to write; by default where temporary files are")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="winnow-prepare-") as temporary:
        folder = Path(temporary)
        write_csv(folder / "csv", given.gb)
        found = measure(folder)
        prepared = next(folder.glob("home/data/weather/prepared/*/part-00000.parquet"))
        bare = [folder / f"{name}.parquet" for name, step in (("one", ONE), ("two", TWO)) if found[step] is not None]
        is_same = len({digest(file) for file in (*bare, prepared)}) == 1
        size = sum(file.stat().st_size for file in (folder / "csv").iterdir()) / 1e9
    report(found, size)
    most = max(each.memory for name, each in found.items() if each is not None and name.startswith("winnow"))
    same = ("yes" if is_same else "NO") if bare else "nothing to compare with"
    print(f"same rows in the same order: {same}; most memory of winnow: {most:.0f} MB")
    sys.exit(0 if is_same and most < MOST_MB else 1)


def write_csv(folder: Path, gb: float) -> None:
    """Write readings, those beyond a million rows as copies with stations of their own."""
    rows = int(gb * 1e9 / BYTES_PER_ROW)
    write_readings(folder, min(rows, BASE_ROWS), 0)
    for file in sorted(folder.iterdir()):
        lines = file.read_text().splitlines(keepends=True)[1:]
        with file.open("a") as target:
            for copy in range(1, -(-rows // BASE_ROWS)):
                target.writelines(f"{copy:02d}{line}" for line in lines)


def measure(folder: Path) -> dict[str, Measured | None]:
    """Run every step, and return what it took by its name; None where bare DuckDB has run out of memory."""
    (folder / "weather.yaml").write_text(CONFIG.format(csv=folder / "csv", weather=WEATHER))
    columns = {each.name: each.sql_type for each in read_schema(WEATHER / "schema.yaml").columns}
    query = (WEATHER / "prepare.sql").read_text()
    text = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
    raw = f"read_csv('{folder}/csv/*.csv', header = true, delim = ',', nullstr = {list(MISSING)}, columns = {{{text}}})"
    with_zone = {name: f"CAST({name} AS TIMESTAMPTZ)" for name, kind in columns.items() if kind == "TIMESTAMP"}
    casts = ", ".join(f"CAST({with_zone.get(name, name)} AS {kind}) AS {name}" for name, kind in columns.items())

    def result(source: str, name: str) -> str:
        typed = f"CREATE VIEW raw AS SELECT {casts} FROM {source};"
        return f"{typed} COPY (SELECT * FROM ({query}\n) ORDER BY date, station) TO '{folder}/{name}.parquet'"

    steps = {
        ONE: result(raw, "one"),
        PARQUET: f"COPY (SELECT * FROM {raw}) TO '{folder}/raw.parquet'",
        TWO: result(f"'{folder}/raw.parquet'", "two"),
    }
    bare = BARE.format(limit=LIMIT_MB, temporary=str(folder / "temporary"), no_memory=NO_MEMORY)
    found = {name: run([sys.executable, "-c", bare], sql, may_lack_memory=True) for name, sql in steps.items()}
    environment = ["env", f"WINNOW_HOME={folder / 'home'}", sys.executable, "-m", "winnow"]
    for verb in ("ingest", "validate", "prepare"):
        found[f"winnow {verb}"] = run([*environment, verb, "--config", str(folder / "weather.yaml")])
    return found


def run(command: list[str], text: str = "", *, may_lack_memory: bool = False) -> Measured | None:
    """Run a command to its end, with a text as its input. A process that starts and ends within 10 ms is not seen.

    None: it ended for lack of memory, which it may.
    """
    start, most, cpu = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        while process.poll() is None:
            family = psutil.Process(process.pid)
            try:
                tree = [family, *family.children(recursive=True)]
                most = max(most, sum(each.memory_info().rss for each in tree))
                cpu = max(cpu, sum(sum(each.cpu_times()[:2]) for each in tree))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.01)
    if may_lack_memory and process.returncode == NO_MEMORY:
        return None
    if process.returncode:
        sys.exit(f"{' '.join(command)}: status {process.returncode}")
    return Measured(time.perf_counter() - start, cpu, most / 1e6)


def digest(file: Path) -> tuple[int, int]:
    """Rows and a hash of their values in order."""
    columns = duckdb.sql(f"DESCRIBE FROM '{file}'").fetchall()
    values = ", ".join(name for name, kind, *_ in columns)
    query = f"SELECT count(*), sum(hash(file_row_number, {values})) FROM read_parquet('{file}')"
    rows, found = duckdb.sql(query).fetchall()[0]
    return rows, found


def report(found: dict[str, Measured | None], size: float) -> None:
    """Print every step, and winnow's share of what DuckDB takes."""
    ingest, _, prepare = (each for name, each in found.items() if name.startswith("winnow"))
    two, ours = both(found[PARQUET], found[TWO]), both(ingest, prepare)
    print(f"{size:.2f} GB of CSV{'':20} seconds  CPU seconds  memory, MB")
    for name, each in {**found, "DuckDB, both steps": two, "winnow, ingest and prepare": ours}.items():
        if each is None:
            print(f"{name:32} out of memory")
        else:
            print(f"{name:32} {each.seconds:8.1f} {each.cpu:12.1f} {each.memory:11.0f}")
    ratios = {
        "ingest ÷ DuckDB's CSV to Parquet": (ingest, found[PARQUET]),
        "prepare ÷ DuckDB's Parquet to result": (prepare, found[TWO]),
        "ingest and prepare ÷ DuckDB in two steps": (ours, two),
        "ingest and prepare ÷ DuckDB in one query": (ours, found[ONE]),
    }
    for name, (mine, bare) in ratios.items():
        if mine is not None and bare is not None:
            print(f"{name}: {mine.seconds / bare.seconds:.2f} in time, {mine.cpu / bare.cpu:.2f} in CPU time")


def both(first: Measured | None, second: Measured | None) -> Measured | None:
    """Two steps, one after the other; None where one was not made."""
    return None if first is None or second is None else first + second


if __name__ == "__main__":
    main()
