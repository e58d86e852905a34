"""Lines a second through a chain of filters: Hexapla's cleaning against OpusFilter's, on the same text.

    python benchmarks/cleaning_speed.py --text en=corpus/train.en.gz de=corpus/train.de.gz \\
        --opusfilter other-environment/bin/opusfilter --lines 200000

The text is repeated to the number of lines wanted, each time with another line behind it, so that lines stay
different; of every hundred lines, three are copies of an earlier one, two are left untranslated, one has its sides
swapped, one another number, and one repeats itself. Both programs read and write files and are timed whole, start
included, in turns; the time of processors, which says more on a busy machine, stands beside that of the clock. The
chains are as near as the programs' filters are: length, length ratio, equal sides, script, language (py3langid in both;
OpusFilter 3.3 needs a version below 0.4), numbers, repetition, exact duplicates.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from hexapla import languages

CHAIN = ["length", "length-ratio", "identical", "script", "language", "items", "repetition"]


def main() -> None:
    """Print a line for each run, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs=2, required=True, metavar="CODE=FILE", help="two sides, line by line")
    parser.add_argument("--opusfilter", type=Path, help="its command; without it only Hexapla is timed")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    sides = dict(each.split("=", 1) for each in arguments.text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder, {code: read(Path(path)) for code, path in sides.items()}, arguments.lines)
        programs: dict[str, Callable[[int], int]] = {
            "hexapla": lambda turn: hexapla(folder, tuple(sides), arguments.processes, turn)
        }
        if arguments.opusfilter is not None:
            programs["opusfilter"] = lambda turn: opusfilter(
                arguments.opusfilter, folder, tuple(sides), arguments.processes, turn
            )
        measure(programs, arguments.lines, arguments.repeats)


def measure(programs: dict[str, Callable[[int], int]], num_lines: int, num_repeats: int) -> None:
    """Time the programs in turns."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(num_repeats):
        for name, run in programs.items():
            start, busy = time.perf_counter(), processor_seconds()
            num_kept = run(turn)
            taken = (time.perf_counter() - start, processor_seconds() - busy)
            seconds[name].append(taken)
            rates = f"{num_lines / taken[0]:7.0f} lines/s  {num_lines / taken[1]:7.0f} lines/processor second"
            print(
                f"{name:10s}  {taken[0]:7.1f} s  {taken[1]:7.1f} s of processors  {rates}  {num_kept} kept", flush=True
            )
    if len(programs) == 2:
        for kind, label in enumerate(("by the clock", "in time of processors")):
            first, second = (statistics.median(taken[kind] for taken in times) for times in seconds.values())
            print(f"hexapla is {second / first:.1f} times as fast {label}")


def processor_seconds() -> float:
    """Time of processors that ended children have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read(path: Path) -> list[str]:
    """The lines of a file."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode("utf-8").splitlines()


def write_text(folder: Path, sides: dict[str, list[str]], num_lines: int) -> None:
    """Write `text.CODE` as the module says."""
    first, second = sides.values()
    pairs = list(zip(first, second, strict=True))
    made: list[tuple[str, str]] = []
    for number in range(num_lines):
        turn, place = divmod(number, len(pairs))
        a, b = pairs[place]
        if turn:
            c, d = pairs[(place + turn) % len(pairs)]
            a, b = f"{a} {c}", f"{b} {d}"
        kind = number % 100
        if kind < 3 and made:
            a, b = made[number * 7919 % len(made)]
        elif kind in (20, 21):
            b = a
        elif kind == 40:
            a, b = b, a
        elif kind == 60:
            a, b = f"{a} 1234", f"{b} 5678"
        elif kind == 80:
            b = f"{b} {'ja ' * 12}".strip()
        made.append((a, b))
    for position, code in enumerate(sides):
        text = "".join(f"{pair[position]}\n" for pair in made)
        (folder / f"text.{code}").write_text(text, encoding="utf-8")
        (folder / f"test.{code}").write_text(f"Test {position}.\n", encoding="utf-8")


def hexapla(folder: Path, codes: tuple[str, ...], num_processes: int, turn: int) -> int:
    """Build a corpus; returns how many rows are left."""
    out = folder / f"hexapla-{turn}"
    out.mkdir()
    settings = {
        "train": [{"reader": "moses", "path": str(folder / "text")}],
        "test": [{"reader": "moses", "path": str(folder / "test")}],
        "clean": {"filters": [*CHAIN, {"filter": "duplicates", "exact": True}], "processes": num_processes},
    }
    code = (
        "import json, sys; from pathlib import Path\n"
        "from hexapla.data.spec import DataSpec; from hexapla.data.stage import build_corpus\n"
        "if __name__ == '__main__':\n"
        "    codes = tuple(sys.argv[3].split())\n"
        "    spec = DataSpec.model_validate(json.loads(sys.argv[1]))\n"
        "    build_corpus(spec, codes, Path(sys.argv[2]), seed=0, hubs=codes[:1])\n"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(settings), str(out), " ".join(codes)], check=True)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    num_rows: int = summary["train"]["text"]["rows"]
    return num_rows


def opusfilter(command: Path, folder: Path, codes: tuple[str, ...], num_processes: int, turn: int) -> int:
    """Filter, then remove duplicates; returns how many lines are left."""
    filters = [
        {"LengthFilter": {"unit": "char", "min_length": 2, "max_length": 2000}},
        {"LengthRatioFilter": {"unit": "char", "threshold": 3}},
        {"SimilarityFilter": {"threshold": 1, "unit": "char", "lowercase": True}},
        {
            "CharacterScoreFilter": {
                "scripts": [languages.get(code).script_name for code in codes],
                "thresholds": [0.5, 0.5],
            }
        },
        {"LanguageIDFilter": {"languages": list(codes), "id_method": "langid", "thresholds": [0.5, 0.5]}},
        {"NonZeroNumeralsFilter": {"threshold": 0.5}},
        {"RepetitionFilter": {}},
    ]
    given, filtered, kept = ([f"{stem}.{code}" for code in codes] for stem in ("text", "filtered", f"kept-{turn}"))
    steps = [
        {"type": "filter", "parameters": {"inputs": given, "outputs": filtered, "filters": filters}},
        {"type": "remove_duplicates", "parameters": {"inputs": filtered, "outputs": kept}},
    ]
    configuration = {"common": {"output_directory": str(folder)}, "steps": steps}
    path = folder / "opusfilter.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    call = [str(command), "--overwrite", "--n-jobs", str(num_processes), str(path)]
    subprocess.run(call, check=True, stderr=subprocess.DEVNULL)
    return len(read(folder / kept[0]))


if __name__ == "__main__":
    main()
