"""Run every benchmark and keep what it prints: `make bench`.

Each `bench_*.py` prints one JSON object a line. They are joined with the date and the machine's
size into `tests/bench/results/<date>_<machine>.jsonl`. Real bodies come from `--data`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "shared" / "data"


def main() -> int:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as rows or line; all if none is given")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real dumps")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no real dumps in {options.data}; give their folder with --data")
    names = options.names or sorted(
        path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")
    )
    today = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()}cores-{platform.machine()}"
    results = HERE / "results" / f"{today}_{machine}.jsonl"
    failed = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, HERE / f"bench_{name}.py", "--data", options.data]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
        with results.open("a", encoding="utf-8") as file:
            for line in filter(None, done.stdout.split("\n")):
                print(line)
                kept = {"date": today, "machine": machine} | json.loads(line)
                file.write(json.dumps(kept) + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
