"""How often identifiers of languages err on references, which are in their language by definition, and at what speed.

    python benchmarks/identifiers.py --identifiers py3langid lingua --ntrex corpora/ntrex/NTREX-128

The share that is wrong is the off-target rate that perfect translations would have; what is unknown, the rate does not
see. Both are given for several limits of confidence, over the languages that the identifier covers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from hexapla import languages
from hexapla.identification import make_identifier
from hexapla.identification.relatives import are_relatives, language_of
from hexapla.identification.spec import IdentificationSpec
from hexapla.phrasebook import corpus


def main() -> None:
    """Print one line an identifier, corpus and limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identifiers", nargs="+", default=["py3langid"], choices=("py3langid", "lingua"))
    parser.add_argument("--limits", nargs="+", type=float, default=[0.0, 0.5, 0.75, 0.9])
    parser.add_argument("--ntrex", type=Path, help="folder of NTREX-128's text files, beside the phrasebook")
    parser.add_argument("--sentences", type=int, default=400, help="of every language (default: 400)")
    arguments = parser.parse_args()
    corpora = {"phrasebook": phrasebook(arguments.sentences)}
    if arguments.ntrex is not None:
        corpora["ntrex"] = ntrex(arguments.ntrex, arguments.sentences)
    print("identifier  corpus      limit  languages  sentences  wrong %  relative %  unknown %  sentences/s")
    for name in arguments.identifiers:
        for title, texts in corpora.items():
            for limit in arguments.limits:
                measure(name, title, texts, limit)


def phrasebook(number: int) -> dict[str, list[str]]:
    """Language → sentences of the test split."""
    texts: dict[str, list[str]] = {}
    for row in corpus.rows("test"):
        for code, text in row.texts.items():
            texts.setdefault(code, []).append(text)
    return {code: found[:number] for code, found in texts.items()}


def ntrex(folder: Path, number: int) -> dict[str, list[str]]:
    """Language → lines; variants that the registry does not know are left out."""
    texts = {}
    for path in sorted(folder.glob("*.txt")):
        texts[languages.get(path.name.split(".")[1]).code] = path.read_text(encoding="utf-8").splitlines()[:number]
    return texts


def measure(name: str, title: str, texts: Mapping[str, list[str]], limit: float) -> None:
    """Identify every sentence of the languages that the identifier covers."""
    identifier = make_identifier(IdentificationSpec(identifier=name, confidence=limit))
    covered = {code: lines for code, lines in texts.items() if identifier.covers(code)}
    identifier.identify(["Where is the station?"])  # loads its models
    wrong = relative = unknown = total = 0
    start = time.perf_counter()
    for code, lines in covered.items():
        for found in identifier.identify(lines):
            total += 1
            if found is None:
                unknown += 1
            elif found.code != language_of(code):
                is_relative = are_relatives(found.code, language_of(code))
                relative += is_relative
                wrong += not is_relative
    rate = total / (time.perf_counter() - start)
    shares = "  ".join(f"{100 * count / total:9.2f}" for count in (wrong, relative, unknown))
    print(f"{name:<10}  {title:<10}  {limit:5.2f}  {len(covered):9}  {total:9}  {shares}  {rate:9.0f}", flush=True)


if __name__ == "__main__":
    main()
