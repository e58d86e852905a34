"""Every prompt, rendered in one place for training, decoding, serving and export.

A template is data. The training text of an example is `prompt.text + template.separator + target` followed by
the end-of-sequence token; decoding starts from `prompt.text`, tokenised the same way. The template's hash is
stored with every pool, and a pool is not used with another one.

Parallel multilingual prompting (PMP; LMT, arXiv 2511.07003) shows the source's translation into an auxiliary language
beside the source; a template has a second text for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from hexapla import languages
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError, nearest
from hexapla.languages import Direction


class Auxiliary(NamedTuple):
    """The source's translation into a third language, shown in the prompt (PMP)."""

    code: str
    text: str


@dataclass(frozen=True)
class Template:
    """How a source sentence becomes a prompt.

    `text` has the fields `{source_name}`, `{target_name}` (English names of the languages), `{source_code}`,
    `{target_code}` and `{source}`. With `chat` it is the user's message inside the tokenizer's own chat template.
    `pmp` is the text with an auxiliary sentence, `{auxiliary}`, which stands after `{source}`, and `{auxiliary_name}`;
    None: the template cannot show one.
    """

    name: str
    text: str
    naming: str
    chat: bool
    separator: str
    origin: str
    pmp: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt, and where source and auxiliary sentence stand in it (character offsets, end exclusive).

    A general instruction stands in the place of the source.
    """

    text: str
    source_span: tuple[int, int]
    auxiliary_span: tuple[int, int] | None = None


class ChatTokenizer(Protocol):
    """What a chat template needs of a tokenizer."""

    chat_template: str | None

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """Render a conversation as text."""


_ALMA = "Translate this from {source_name} to {target_name}:\n{source_name}: {source}\n{target_name}:"
_ALMA_PMP = (
    "Translate this from {source_name} to {auxiliary_name} and {target_name}:\n"
    "{source_name}: {source}\n{auxiliary_name}: {auxiliary}\n{target_name}:"
)  # LMT, arXiv 2511.07003
_LMT = "Translate the following text from {source_name} into {target_name}:\n{source_name}: {source}\n{target_name}:"
_LMT_PMP = (
    "Translate the following text from {source_name} into {auxiliary_name} and {target_name}:\n"
    "{source_name}: {source}\n{auxiliary_name}: {auxiliary}\n{target_name}:"
)  # ours: the paper's change made to the wording of the checkpoints, whose own with an auxiliary was not released

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            "alma",
            _ALMA,
            "alma",
            False,
            " ",
            "ALMA, arXiv 2309.11674; LMT's plain prompt (STP) reads the same",
            _ALMA_PMP,
        ),
        Template(
            "x-alma",
            _ALMA,
            "alma",
            True,
            "",
            "X-ALMA, arXiv 2410.03115: ALMA's prompt in the chat template",
            _ALMA_PMP,
        ),
        Template(
            "lmt", _LMT, "lmt", False, " ", "the released LMT checkpoints, without chat template (ours)", _LMT_PMP
        ),
        Template("lmt-chat", _LMT, "lmt", True, "", "the released LMT checkpoints, arXiv 2511.07003", _LMT_PMP),
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
    if template.pmp is not None:
        parts["pmp"] = template.pmp
    if template.chat:
        parts["chat_template"] = _require_chat(template, tokenizer).chat_template
    return digest_of(parts)


def require_pmp(template: Template) -> str:
    """The template's text with an auxiliary sentence.

    Raises:
        UserError: it has none.
    """
    if template.pmp is None:
        able = ", ".join(name for name, other in TEMPLATES.items() if other.pmp is not None)
        raise UserError(
            f"The prompt template {template.name!r} has no form with an auxiliary sentence.",
            where="prompt",
            hint=f"Do without parallel multilingual prompting (pmp), or use one of these: {able}.",
        )
    return template.pmp


def render(
    template: Template,
    direction: Direction,
    source: str,
    tokenizer: ChatTokenizer | None = None,
    auxiliary: Auxiliary | None = None,
) -> Prompt:
    """The prompt for translating `source` in `direction`.

    Args:
        tokenizer: needed for chat templates only; thinking is switched off where the template knows it.
        auxiliary: what to show beside the source; None: the plain prompt.

    Raises:
        UserError: a chat template is asked of a tokenizer that has none; the template cannot show an auxiliary.
    """
    text = template.text if auxiliary is None else require_pmp(template)
    names = _fields(template, direction, auxiliary)
    sentences = [source] if auxiliary is None else [source, auxiliary.text]
    frame = [part.format(**names) for part in re.split(r"\{source\}|\{auxiliary\}", text)]
    if template.chat:
        frame = _in_chat(frame, _require_chat(template, tokenizer))
    assert len(frame) == len(sentences) + 1
    rendered, spans = frame[0], []
    for sentence, after in zip(sentences, frame[1:], strict=True):
        spans.append((len(rendered), len(rendered) + len(sentence)))
        rendered += sentence + after
    return Prompt(rendered, spans[0], None if auxiliary is None else spans[1])


_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{message}\n\n### Response:"
)
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n{message}\n\n### Response:"
)
"""The two prompts of Stanford Alpaca (R. Taori et al., 2023; github.com/tatsu-lab/stanford_alpaca, train.py). Between
prompt and answer stands the template's separator; theirs has nothing there."""


def render_instruction(
    template: Template, instruction: str, input: str = "", tokenizer: ChatTokenizer | None = None
) -> Prompt:
    """The prompt for a general instruction, with the place of what the user says in it.

    For a chat template it is the user's message (the instruction, then an empty line and the input) in the tokenizer's
    own template, else the prompt of Stanford Alpaca. Of `template` only the kind and the separator matter.

    Args:
        input: what the instruction is about; empty: nothing.
        tokenizer: needed for chat templates only; thinking is switched off where the template knows it.

    Raises:
        UserError: a chat template is asked of a tokenizer that has none.
    """
    if template.chat:
        before, after = _in_chat(["", ""], _require_chat(template, tokenizer))
        message = f"{instruction}\n\n{input}" if input else instruction
    else:
        before, after = (_ALPACA_INPUT if input else _ALPACA).split("{message}")
        message = f"{instruction}\n\n### Input:\n{input}" if input else instruction
    return Prompt(before + message + after, (len(before), len(before) + len(message)))


def _in_chat(frame: list[str], chat: ChatTokenizer) -> list[str]:
    """The parts of a message around its sentences, with the chat template's text before and after.

    The sentences are put in after rendering: a chat template may strip what it wraps, and the spans must be exact.
    """
    marker = "\ue000"
    rendered: str = chat.apply_chat_template(
        [{"role": "user", "content": marker.join(frame)}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    return rendered.split(marker, len(frame) - 1)


def _fields(template: Template, direction: Direction, auxiliary: Auxiliary | None) -> dict[str, str]:
    shown = {"source": direction.source, "target": direction.target}
    if auxiliary is not None:
        shown["auxiliary"] = auxiliary.code
    fields = {}
    for role, code in shown.items():
        language = languages.get(code)
        fields[f"{role}_name"] = language.lmt_name if template.naming == "lmt" else language.name
        fields[f"{role}_code"] = language.code
    return fields


def _require_chat(template: Template, tokenizer: ChatTokenizer | None) -> ChatTokenizer:
    if tokenizer is None or tokenizer.chat_template is None:
        plain = ", ".join(name for name, other in TEMPLATES.items() if not other.chat)
        raise UserError(
            f"The prompt template {template.name!r} needs a chat template, which this base's tokenizer does not have.",
            where="prompt",
            hint=f"Use a base that has one, or a plain template: {plain}.",
        )
    return tokenizer
