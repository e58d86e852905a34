"""Translate three sentences with the pool that `hexapla run quickstart` made, through the library.

python examples/three_sentences.py runs/quickstart/pools/direction-aware
"""

import sys

from hexapla import Translator, languages
from hexapla.phrasebook.corpus import rows
from hexapla.translate.spec import TranslateSpec

SHOWN = ("de", "es", "uk", "el", "hi", "tr", "zh", "fi")


def main() -> None:
    """Three test rows, which no training has seen: out of English, and back into English."""
    translator = Translator(sys.argv[1], TranslateSpec(beams=4, max_length_ratio=3))
    shortest = [row for row in rows("test") if 25 <= len(row.texts["en"]) <= 40][:3]
    for row in shortest:
        english = row.texts["en"]
        print(f"\n{english}")
        for code in SHOWN:
            name = languages.get(code).name
            there = translator.translate(english, source="en", target=code)[0].text
            back = translator.translate(row.texts[code], source=code, target="en")[0].text
            print(f"  {name:<8} {there}   (and from {name}: {back})")


if __name__ == "__main__":
    main()
