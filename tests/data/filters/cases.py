"""What filters keep and reject, for every filter and reason in seven scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import ftfy  # registers the encoding sloppy-windows-1252

ENGLISH = "The train leaves for the city tonight at eight o'clock."
SENTENCES = {
    "de": "Der Zug nach Hamburg fährt heute Abend um acht Uhr ab.",
    "ru": "Сегодня вечером поезд отправляется в Москву в восемь часов.",
    "ar": "يغادر القطار إلى القاهرة الليلة في الساعة الثامنة.",
    "hi": "रेलगाड़ी आज रात आठ बजे दिल्ली के लिए रवाना होगी।",
    "zh": "火车今晚八点从这里开往北京，请不要迟到。",
    "ko": "기차는 오늘 저녁 여덟 시에 부산으로 출발합니다.",
    "th": "รถไฟจะออกเดินทางไปเชียงใหม่คืนนี้เวลาสองทุ่ม",
}
_NUMBERS = {"ar": "١٬٢٣٤", "hi": "१,२३४", "th": "๑,๒๓๔", "de": "1.234", "ru": "1 234", "zh": "1234", "ko": "1,234"}
_NEIGHBOURS = {
    "de": "Le train pour Paris part ce soir à huit heures.",
    "ru": "Потяг до Києва вирушає сьогодні ввечері о восьмій годині.",
    "ar": "قطار امشب ساعت هشت به سوی تهران حرکت می‌کند.",
    "hi": "आज रात्री आठ वाजता रेल्वे पुण्यासाठी निघणार आहे.",
    "zh": "列車は今夜八時に東京へ出発しますので、遅れないでください。",
    "ko": "La oss gå på kino i kveld, sa hun til broren sin.",
    "th": "ລົດໄຟຈະອອກເດີນທາງໄປຫຼວງພະບາງຄືນນີ້ເວລາສອງທຸ່ມ",
}
_UNSURE = {
    "de": "Wir sehen das Haus",
    "ru": "Сегодня вечером",
    "ar": "قطار",
    "hi": "घर में है",
    "zh": "今天晚上出发",
    "ko": "기차가",
    "th": "taxi รถ taxi",
}


class Case(NamedTuple):
    """One text of the language `code` with its English side (for filters of pairs), and the reason to reject it."""

    code: str
    text: str
    reason: str | None
    english: str = ENGLISH
    settings: dict[str, Any] = {}  # noqa: RUF012


def _length() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, text[0], "too-short", settings={"min": 5})
        yield Case(code, text * 100, "too-long")


def _ratio() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, text, "length-ratio", english=ENGLISH * 5)
        yield Case(code, text * 5, "length-ratio")


def _identical() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, text, "identical", english=text)
        yield Case(code, f"«{text.upper()}» !", "identical", english=text.replace(" ", "  "))
        yield Case(code, text[:2] + text[3:], "near-identical", english=text)
        yield Case(code, text[:2] + text[3:], None, english=text, settings={"similarity": None})


def _items() -> Iterator[Case]:
    english = f"{ENGLISH[:-1]} with 1,234 people."
    for code, text in SENTENCES.items():
        yield Case(code, f"{text} {_NUMBERS[code]}", None, english=english)
        yield Case(code, text, "lost-number", english=english)
        yield Case(code, f"{text} {_NUMBERS[code]}", "lost-number")
        yield Case(code, text, None, english=english, settings={"kinds": ["tag"]})
        for reason, item in (
            ("lost-address", "www.example.org"),
            ("lost-tag", "<b>"),
            ("lost-placeholder", "{name}"),
        ):
            yield Case(code, f"{text} {item}", None, english=f"{item} {ENGLISH}")
            yield Case(code, f"{text} {item}", reason)
            yield Case(code, text, reason, english=f"{item} {ENGLISH}")


def _letters() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, f"{text[:2]} 12:30, 4.50 € / 3 × 2", "few-letters")
        yield Case(code, "… — …", "few-letters")


def _repetition() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, f"{text}!!!", None)
        yield Case(code, f"{text}{'!' * 12}", "run")
        yield Case(code, f"{text} {'x' * 11}", "run")
        yield Case(code, f"{text}{'!' * 10}", None)
        yield Case(code, f"{text}!!!!", "run", settings={"max_run": 3})
        yield Case(code, f"{text} " * 4, "loop")


def _script() -> Iterator[Case]:
    codes = list(SENTENCES)
    for number, (code, text) in enumerate(SENTENCES.items()):
        other = SENTENCES[codes[number - 1] if code not in ("de", "ru") else "ar"]
        yield Case(code, text, None)
        yield Case(code, f"Berlin, {text}", None)
        yield Case(code, "12:30 !", None)
        yield Case(code, other, "wrong-script")
        yield Case(code, f"{text} {other}", "mixed-script")


def _encoding() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, f"“{text}” — 😀 ½ é", None)
        yield Case(code, text.replace(text[2], "\ufffd"), "replaced")
        yield Case(code, f"{text} \ue000", "private-use")
        yield Case(code, f"{text} \u0378", "unassigned")
        damaged = text.encode().decode("sloppy-windows-1252")
        assert ftfy.fix_text(damaged) == ftfy.fix_text(text)
        yield Case(code, damaged, "mojibake")
        yield Case(code, damaged, None, settings={"mojibake": False})


def _language() -> Iterator[Case]:
    for code, text in SENTENCES.items():
        yield Case(code, text, None)
        yield Case(code, "12:30", None)
        yield Case(code, _NEIGHBOURS[code], "wrong-language")
        yield Case(code, _UNSURE[code], "unsure-language", settings={"confidence": 1.0})


CASES = {
    "length": list(_length()),
    "length-ratio": list(_ratio()),
    "identical": list(_identical()),
    "items": list(_items()),
    "letters": list(_letters()),
    "repetition": list(_repetition()),
    "script": list(_script()),
    "encoding": list(_encoding()),
    "language": list(_language()),
}
