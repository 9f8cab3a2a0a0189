"""Runs docs/tutorial.md: python examples/tutorial.py --folder=tutorial.

The blocks of `sh` and `python` are run one after the other by one shell, in an
empty folder. A block of `text` after one of them shows lines that it prints,
in any order: whole numbers must be the same, numbers with a point may differ
by 0.03 or 3 %, and "..." stands for any text. Exit codes: 0 all of it is as
the page says; 1 a block failed or printed other lines; 2 there is nothing to
run, or the folder is not empty.
"""

import argparse
import dataclasses
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
TOLERANCE = 0.03  # of numbers with a point, and their share
_PARTS = re.compile(
    r"^## (?P<title>[^\n]+)$|^```(?P<kind>\w*)\n(?P<text>.*?)^```",
    re.M | re.S,
)
_DECIMAL = re.compile(r"\d+\.\d+")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of the page that is run.

    Args:
        section: title of the section.
        kind: "sh" or "python".
        text: its program.
        lines: lines that it should print.
    """

    section: str
    kind: str
    text: str
    lines: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The block as a command of the shell."""
        if self.kind == "sh":
            return self.text
        return f"python - <<'END OF PYTHON'\n{self.text}END OF PYTHON\n"


def blocks(page: str) -> list[Block]:
    """Returns the blocks that a page wants to be run, in their order."""
    found: list[Block] = []
    section = ""
    for part in _PARTS.finditer(page):
        section = part["title"] or section
        if part["kind"] in ("sh", "python"):
            found.append(Block(section, part["kind"], part["text"]))
        elif part["kind"] == "text":
            lines = (*found[-1].lines, *part["text"].splitlines())
            found[-1] = dataclasses.replace(found[-1], lines=lines)
    return found


def matches(shown: str, printed: str) -> bool:
    """Returns whether a printed line is the one that a page shows."""
    shown, printed = " ".join(shown.split()), " ".join(printed.split())
    parts = [re.escape(part) for part in _DECIMAL.split(shown)]
    pattern = r"(\d+\.\d+)".join(parts).replace(r"\.\.\.", ".*")
    found = re.fullmatch(pattern, printed)
    return found is not None and all(
        abs(float(x) - float(y)) <= TOLERANCE * max(1, float(x))
        for x, y in zip(_DECIMAL.findall(shown), found.groups(), strict=True)
    )


def missing(block: Block, printed: Sequence[str]) -> list[str]:
    """Returns the lines of the page that a block did not print."""
    return [
        line
        for line in block.lines
        if line.strip() and not any(matches(line, each) for each in printed)
    ]


def script(some: Sequence[Block], mark: str) -> str:
    """Returns a shell program that prints `mark` before each block."""
    lines = ["set -e"]
    for block in some:
        lines += [f"echo {mark}", block.command]
    return "\n".join(lines) + "\n"


def run(some: Sequence[Block], folder: Path) -> Iterator[tuple[Block, list]]:
    """Runs blocks and yields each with the lines that it printed.

    Raises:
        CalledProcessError: a block failed.
    """
    mark = secrets.token_hex(16)
    programs = os.path.dirname(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONUNBUFFERED": "1",
    }
    left = iter(some)
    block, printed = None, []
    with subprocess.Popen(
        ["bash", "-c", script(some, mark)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as shell:
        for line in shell.stdout:
            before, _, marked = line.partition(mark)
            if before:  # its last line may have no end
                print(before, end="", flush=True)
                printed.append(before)
            if not marked:
                continue
            if block is not None:
                yield block, printed
            block, printed = next(left), []
            print(f"\n[{block.section}]\n{block.text}", flush=True)
    if shell.returncode:
        raise subprocess.CalledProcessError(shell.returncode, block.text)
    yield block, printed


def main() -> int:
    """Runs the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("tutorial"))
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--before", help="section before which to stop")
    values = parser.parse_args()
    page = values.page.read_text(encoding="utf-8")
    some = blocks(page)
    if values.before:
        titles = [block.section for block in some]
        some = some[: titles.index(values.before)]
    if not some:
        print(f"error: {values.page} has no blocks to run.")
        return 2
    values.folder.mkdir(parents=True, exist_ok=True)
    if any(values.folder.iterdir()):
        print(
            f"error: {values.folder} is not empty; remove it.", file=sys.stderr
        )
        return 2
    differ = []
    try:
        for block, printed in run(some, values.folder):
            for line in missing(block, printed):
                differ.append(f"[{block.section}] did not print: {line}")
    except subprocess.CalledProcessError as error:
        differ.append(f"exit code {error.returncode} of:\n{error.cmd}")
    print(f"\n{len(some)} blocks", *differ, sep="\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
