"""Runs a simulated week, prints what it came to, and checks it.

``python -P tests/plant/week/week.py --season spring --seed 1``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

from week_books import BOOKS
from week_checks import CHECKS, figures
from week_plan import WEEKS
from week_run import Week


def say(text):
    sys.stdout.write(f"{text}\n")


def main():
    parser = argparse.ArgumentParser(description="simulated weeks of the demo plant in virtual time")
    parser.add_argument("--season", choices=WEEKS, default="spring")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--early", action="store_true", help="one day only; prints the hash of the whole database")
    options = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        week = Week(Path(folder), options.season, options.seed).run(only_early=options.early)
        if options.early:
            say(week.early_digest)
            return
        say(json.dumps(figures(week), indent=1))
        for one in week.refused:
            say(f"refused: {' '.join(map(str, one))}")
        say(f"{time.perf_counter() - begun:.1f} s")
        for check in (*CHECKS, *BOOKS):
            check(week)
    say("all checks hold")


if __name__ == "__main__":
    main()
