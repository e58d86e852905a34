"""Every prompt, rendered in one place for training, decoding, serving and export.

A template is data. The training text of an example is `prompt.text + template.separator + target` followed by
the end-of-sequence token; decoding starts from `prompt.text`, tokenised the same way. The template's hash is
stored with every pool, and a pool is not used with another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from hexapla import languages
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError, nearest
from hexapla.languages import Direction


@dataclass(frozen=True)
class Template:
    """How a source sentence becomes a prompt.

    `text` has the fields `{source_name}`, `{target_name}` (English names of the languages), `{source_code}`,
    `{target_code}` and `{source}`. With `chat` it is the user's message inside the tokenizer's own chat template.
    """

    name: str
    text: str
    naming: str
    chat: bool
    separator: str
    origin: str


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt and where the source sentence stands in it (character offsets, end exclusive)."""

    text: str
    source_span: tuple[int, int]


class ChatTokenizer(Protocol):
    """What a chat template needs of a tokenizer."""

    chat_template: str | None

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """Render a conversation as text."""


_ALMA = "Translate this from {source_name} to {target_name}:\n{source_name}: {source}\n{target_name}:"
_LMT = "Translate the following text from {source_name} into {target_name}:\n{source_name}: {source}\n{target_name}:"

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template("alma", _ALMA, "alma", False, " ", "ALMA, arXiv 2309.11674; LMT's plain prompt (STP) reads the same"),
        Template("x-alma", _ALMA, "alma", True, "", "X-ALMA, arXiv 2410.03115: ALMA's prompt in the chat template"),
        Template("lmt", _LMT, "lmt", False, " ", "the released LMT checkpoints, without chat template (ours)"),
        Template("lmt-chat", _LMT, "lmt", True, "", "the released LMT checkpoints, arXiv 2511.07003"),
        Template(
            "lmt-cpt",
            "<{source_code}2{target_code}> {source} <{target_code}>",
            "lmt",
            False,
            " ",
            "LMT continued pre-training, arXiv 2511.07003, bilingual text",
        ),
    )
}


def get_template(name: str) -> Template:
    """The template called `name`.

    Raises:
        UserError: there is none; the message lists the nearest.
    """
    if name not in TEMPLATES:
        raise UserError(f"There is no prompt template {name!r}.", hint=nearest(name, TEMPLATES))
    return TEMPLATES[name]


def template_hash(template: Template, tokenizer: ChatTokenizer | None = None) -> str:
    """sha256 of everything that shapes the prompt: the template and, for chat ones, the tokenizer's template."""
    parts: dict[str, Any] = {"text": template.text, "naming": template.naming, "separator": template.separator}
    if template.chat:
        parts["chat_template"] = _require_chat(template, tokenizer).chat_template
    return digest_of(parts)


def render(template: Template, direction: Direction, source: str, tokenizer: ChatTokenizer | None = None) -> Prompt:
    """The prompt for translating `source` in `direction`.

    Args:
        tokenizer: needed for chat templates only; thinking is switched off where the template knows it.

    Raises:
        UserError: a chat template is asked of a tokenizer that has none.
    """
    before, after = template.text.split("{source}")
    names = _fields(template, direction)
    before, after = before.format(**names), after.format(**names)
    if not template.chat:
        return Prompt(before + source + after, (len(before), len(before) + len(source)))
    chat = _require_chat(template, tokenizer)
    # The source is put in after rendering: a chat template may strip what it wraps, and the span must be exact.
    marker = "\ue000"
    rendered: str = chat.apply_chat_template(
        [{"role": "user", "content": before + marker + after}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    start = rendered.index(marker)
    return Prompt(rendered.replace(marker, source, 1), (start, start + len(source)))


def _fields(template: Template, direction: Direction) -> dict[str, str]:
    source, target = languages.get(direction.source), languages.get(direction.target)
    lmt = template.naming == "lmt"
    return {
        "source_name": source.lmt_name if lmt else source.name,
        "target_name": target.lmt_name if lmt else target.name,
        "source_code": source.code,
        "target_code": target.code,
    }


def _require_chat(template: Template, tokenizer: ChatTokenizer | None) -> ChatTokenizer:
    if tokenizer is None or tokenizer.chat_template is None:
        plain = ", ".join(name for name, other in TEMPLATES.items() if not other.chat)
        raise UserError(
            f"The prompt template {template.name!r} needs a chat template, which this base's tokenizer does not have.",
            where="prompt",
            hint=f"Use a base that has one, or a plain template: {plain}.",
        )
    return tokenizer
