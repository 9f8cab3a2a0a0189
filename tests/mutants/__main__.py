"""Puts bugs into modules, one at a time, and counts those that tests notice.

A sample of all bugs of one operator, number, keyword or comparison, from a
seed, on a copy of the tree. Results are kept in a file, so that a sample can
be done in pieces; mutants whose lines have not changed keep theirs.
"""

import argparse
import collections
import hashlib
import json
import os
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tests.mutants import running
from tests.mutants.choosing import Mutant, mutant, sites

HERE = Path(__file__).resolve().parent
ROOT = running.ROOT
KILLED, SURVIVED, LATE = "killed", "survived", "late"


def targets() -> dict[str, tuple[str, list[str]]]:
    """Returns {module: (its part, the files of its tests)}."""
    table = tomllib.loads((HERE / "targets.toml").read_text())
    return {
        module: (part, tests)
        for part, modules in table.items()
        for module, tests in modules.items()
    }


def equivalents() -> dict[tuple[str, str, str], str]:
    """Returns {(module, was, becomes): why no test can notice it}."""
    table = tomllib.loads((HERE / "equivalent.toml").read_text())
    return {
        (each["module"], each["was"], each["becomes"]): each["reason"]
        for each in table["equivalent"]
    }


def sample(modules, seed: int, size: int) -> list[Mutant]:
    """Returns `size` mutants, those of the lowest rank."""
    texts = {module: (ROOT / module).read_text() for module in modules}
    everywhere = [
        site for path, text in texts.items() for site in sites(path, text, seed)
    ]
    everywhere.sort(key=lambda site: site.rank)
    chosen: list[Mutant] = []
    for site in everywhere:
        if len(chosen) == size:
            break
        made = mutant(site, texts[site.path])
        if made is not None:
            chosen.append(made)
    return chosen


class Results:
    """Outcomes by mutant, in a JSON file."""

    def __init__(self, path: Path):
        self._path = path
        self.outcomes: dict[str, dict] = {}
        self.limits: dict[str, float | None] = {}
        if path.exists():
            found = json.loads(path.read_text())
            self.outcomes, self.limits = found["outcomes"], found["limits"]

    def write(self):
        """Writes the file, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".unfinished")
        content = {"outcomes": self.outcomes, "limits": self.limits}
        beside.write_text(json.dumps(content, indent=1))
        os.replace(beside, self._path)


class Runner:
    """Tests mutants in a folder to which the tree was copied."""

    def __init__(
        self,
        tree: Path,
        results: Results,
        log: Path,
        stages: tuple[str, ...] = running.STAGES,
        limit: float = 0,
    ):
        self._tree = tree
        self._results = results
        self._log = log
        self._stages = stages
        self._given = limit

    def outcome(self, mutant: Mutant, tests: list[str]) -> dict:
        """Returns what the tests say of a mutant."""
        file = self._tree / mutant.path
        text = file.read_text()
        seconds = 0.0
        found = SURVIVED
        for marks in self._stages:
            limit = self._given or self._limit(mutant.path, tests, marks)
            if limit is None:
                continue
            file.write_text(mutant.code)
            try:
                code, took = running.run(tests, marks, limit, self._log)
            finally:
                file.write_text(text)
            seconds += took
            if code not in (running.PASSED, running.NO_TESTS):
                found = LATE if code == running.LATE else KILLED
                break
        return {"outcome": found, "seconds": round(seconds, 1)}

    def _limit(self, module, tests, marks):
        """Seconds that tests may take; None where there are none.

        Raises:
            SystemExit: the tests fail without a bug.
        """
        digest = hashlib.sha256(marks.encode())
        for name in (module, *tests):
            digest.update((self._tree / name).read_bytes())
        key = f"{module} {digest.hexdigest()[:16]}"
        if key not in self._results.limits:
            code, took = running.run(tests, marks, 900, self._log)
            if code not in (running.PASSED, running.NO_TESTS):
                text = self._log.read_text()[-3000:]
                sys.exit(f"{text}\n{module}: its tests fail without a bug.")
            limit = 30 + 3 * took if code == running.PASSED else None
            self._results.limits[key] = limit
            self._results.write()
        return self._results.limits[key]


def report(mutants: list[Mutant], results: Results):
    """Prints the survivors, and the score by module and in all."""
    table, known = targets(), equivalents()
    counts: dict[str, collections.Counter] = {}
    for each in mutants:
        part, _ = table[each.path]
        found = results.outcomes.get(each.key, {}).get("outcome", "to do")
        if found == SURVIVED:
            reason = known.get((each.path, each.was, each.becomes))
            if reason:
                found = "equivalent"
            else:
                print(f"\nsurvived: {each.path}:{each.line}\n{each.diff}")
        for name in (f"{part:<12} {each.path}", "all"):
            counts.setdefault(name, collections.Counter())[found] += 1
    print(
        f"\n{'part         module':<58} mutants killed late equivalent "
        "survived score"
    )
    for name in sorted(counts, key=lambda name: (name == "all", name)):
        count = counts[name]
        done = count.total() - count["to do"]
        noticed = count[KILLED] + count[LATE]
        judged = noticed + count[SURVIVED]
        score = f"{noticed / judged:.2f}" if judged else "-"
        print(
            f"{name:<58} {done:7} {count[KILLED]:6} {count[LATE]:4} "
            f"{count['equivalent']:10} {count[SURVIVED]:8} {score:>5}"
        )
    if counts["all"]["to do"]:
        print(f"to do: {counts['all']['to do']}")


def main():
    """Runs what is still to do of a sample, and reports it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument(
        "--seconds", type=float, default=0, help="0: until all are done"
    )
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument(
        "--limit",
        type=float,
        default=0,
        help="seconds of a mutant's tests; 0: three times what they take "
        "without it. With any other they are not run without a bug first",
    )
    parser.add_argument(
        "--fast", action="store_true", help="leave slow tests out"
    )
    parser.add_argument(
        "--again", action="store_true", help="test survivors again"
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing, report"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / ".mutants/results.json"
    )
    values = parser.parse_args()
    results = Results(values.results.resolve())
    table = {
        module: target
        for module, target in targets().items()
        if values.only in module
    }
    if not table:
        parser.error(f"--only={values.only}: there is no such module.")
    mutants = sample(table, values.seed, values.sample)
    if not values.report:
        _run(mutants, results, table, values)
    report(mutants, results)


def _run(mutants, results, table, values):
    done = {
        key
        for key, each in results.outcomes.items()
        if not (values.again and each["outcome"] == SURVIVED)
    }
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        running.copy_tree(tree)
        running.warm_up(tree)
        stages = running.STAGES[:1] if values.fast else running.STAGES
        log = Path(folder) / "log"
        runner = Runner(tree, results, log, stages, values.limit)
        for each in mutants:
            if each.key in done:
                continue
            if values.seconds and time.monotonic() - began > values.seconds:
                break
            found = runner.outcome(each, table[each.path][1])
            results.outcomes[each.key] = found
            results.write()
            print(f"{found['outcome']:<8} {each.path}:{each.line}", flush=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
