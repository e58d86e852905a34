"""What LMT's data stage makes of NTREX-128 with two hubs: directions, downsampling, target repetition, PMP coverage.

    python benchmarks/lmt_counts.py corpora/ntrex

The languages are those of LMT's 60 that the folder has. Nothing is trained, so it takes a minute.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hexapla import languages
from hexapla.analyze.repetition import Repetition
from hexapla.data.auxiliaries import Auxiliaries, choose_auxiliaries, coverage
from hexapla.data.downsample import DownsampleSpec
from hexapla.data.examples import Example, ExampleMaker, Tally, add_up, make_examples
from hexapla.data.pmp import PmpSpec
from hexapla.data.readers.ntrex import NtrexReader
from hexapla.data.rows import Row
from hexapla.data.stage import read_corpus_rows
from hexapla.languages import Direction
from hexapla.plan import Layout, Side

SHARES = (0.0, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)  # the paper's


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ntrex", type=Path, help="folder of NTREX-128")
    parser.add_argument("--hubs", nargs="+", default=["en", "zh"], metavar="LANGUAGE")
    parser.add_argument("--share", type=float, default=0.05, help="of the examples into a hub (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    there = {path.name.split(".")[1] for path in arguments.ntrex.rglob("newstest2019-*.txt")}
    codes = tuple(code for code in languages.named_set("lmt") if languages.get(code).ntrex in there)
    hubs = tuple(languages.get(hub).code for hub in arguments.hubs)
    others = tuple(code for code in codes if code not in hubs)
    layout = Layout(codes, hubs, {"others": others})
    rows = read_corpus_rows(NtrexReader(path=arguments.ntrex), codes)
    missing = ", ".join(code for code in languages.named_set("lmt") if code not in codes)
    sides = Counter(layout.side(direction) for direction in layout.directions)
    print(f"{len(codes)} of LMT's languages (not there: {missing or 'none'}), hubs {', '.join(hubs)}, {len(rows)} rows")
    print(f"{len(layout.directions)} directions: " + ", ".join(f"{number} {side}" for side, number in sides.items()))
    downsampling(rows, layout, arguments.seed)
    repetition(rows, layout, arguments.share, arguments.seed)
    auxiliary_languages(rows, layout, arguments.share, arguments.seed)


def downsampling(rows: Sequence[Row], layout: Layout, seed: int) -> None:
    """Examples by side at every share of the paper."""
    print("\nexamples, by the share of those into a hub that is kept")
    print(
        "share  "
        + "  ".join(f"{side:>12}" for side in Side)
        + "           all  fewest and most of a direction to a hub"
    )
    for share in SHARES:
        maker = ExampleMaker(layout.hubs, seed, DownsampleSpec(to_hub=share))
        tally = maker.tally(rows, layout.directions)
        by_side = add_up(tally, layout.side)
        total = sum(part.kept for part in by_side.values())
        into = [one.kept for direction, one in tally.items() if layout.side(direction) is Side.TO_HUB]
        cells = "  ".join(f"{by_side[side].kept:12}" if side in by_side else " " * 12 for side in Side)
        print(f"{share:5}  {cells}  {total:12}  {min(into)} to {max(into)}")


def repetition(rows: Sequence[Row], layout: Layout, share: float, seed: int) -> None:
    """How often targets occur, before and after."""
    before = make_examples(rows, layout.directions)
    after = ExampleMaker(layout.hubs, seed, DownsampleSpec(to_hub=share)).training(rows, layout.directions)
    for title, examples in (("before downsampling", before), (f"after, at {share}", after)):
        for side, chosen in (("all", examples), (Side.TO_HUB, _of_side(examples, layout, Side.TO_HUB))):
            found = Repetition.of((example.direction, example.target) for example in chosen)
            print(
                f"\ntarget repetition {title}, {side}: {found.num_examples} examples, {found.num_distinct} distinct "
                f"targets, {found.mean_occurrences or 0:.2f} times on average, {found.max_occurrences} at most"
            )
            print("  times: targets   " + "  ".join(f"{times}: {number}" for times, number in found.histogram.items()))


def _of_side(examples: Sequence[Example], layout: Layout, side: Side) -> list[Example]:
    return [example for example in examples if layout.side(example.direction) is side]


def auxiliary_languages(rows: Sequence[Row], layout: Layout, share: float, seed: int) -> None:
    """The auxiliary of every language with every hub, and how many examples show one."""
    spec = PmpSpec()
    auxiliaries = choose_auxiliaries(spec, layout.languages, layout.hubs, seed=seed)
    maker = ExampleMaker(layout.hubs, seed, DownsampleSpec(to_hub=share), spec, auxiliaries)
    _print_coverage(auxiliaries, rows, maker.tally(rows, layout.directions), layout)


def _print_coverage(
    auxiliaries: Auxiliaries, rows: Sequence[Row], tally: Mapping[Direction, Tally], layout: Layout
) -> None:
    print("\nauxiliary languages: hub-language  auxiliary (found)  share of the rows that hold it")
    for hub in layout.hubs:
        found = [one for one in coverage(auxiliaries, rows) if one.hub == hub]
        cells = [
            f"{one.hub}-{one.other} {one.choice.code or '-'} ({one.choice.found}) {100 * (one.share or 0):.1f} %"
            if one.choice.code is not None
            else f"{one.hub}-{one.other} -"
            for one in found
        ]
        for start in range(0, len(cells), 4):
            print("  " + "  ".join(f"{cell:34}" for cell in cells[start : start + 4]).rstrip())
        counts = Counter(one.choice.found for one in found)
        print(f"  {hub}: " + ", ".join(f"{number} {name}" for name, number in counts.items()))
    total = add_up(tally, lambda _: "all")["all"]
    print(
        f"\nexamples that are kept: {total.kept}; to be shown with an auxiliary sentence {total.wanted}, shown "
        f"{total.shown}, {100 * total.shown / total.kept:.1f} %"
    )


if __name__ == "__main__":
    main()
