"""Documents and the token store: what is learned, what is set aside, and the same bytes after a kill."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hexapla.base import Base, load_tokenizer
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.rows import Row
from hexapla.train.pretrain import store as stores
from hexapla.train.pretrain.documents import Renderer
from hexapla.train.pretrain.store import PretrainText, TokenStore, build_store
from tests.train.pretrain.material import pretrain_text, sentence, write_rows


@pytest.fixture(scope="module")
def tokenizer(qwen3_base: Path) -> Any:
    return load_tokenizer(Base(str(qwen3_base)))


def _build(folder: Path, tokenizer: Any, text: PretrainText, *, length: int = 128) -> TokenStore:
    return build_store(folder, tokenizer, text, length=length, seed=5)


def _documents(store: TokenStore, tokenizer: Any) -> dict[str, list[str]]:
    return {
        source.name: [
            tokenizer.decode(source.tokens[start : start + length], clean_up_tokenization_spaces=False)
            for start, length in zip(source.starts, source.lengths, strict=True)
        ]
        for source in store.sources
    }


def _bytes(store: TokenStore) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(store.folder.iterdir())}


def test_a_pair_is_written_as_the_paper_writes_it_and_belongs_to_its_first_hub() -> None:
    row = Row("r:1", {"ky": "Мен окуйм.", "zh": "我看书。", "en": "I read."}, "r")
    texts = {document.source: [] for document in Renderer(("en", "zh"), 1).bilingual(row)}
    for seed in range(40):
        for source, text in Renderer(("en", "zh"), seed).bilingual(row):
            texts[source].append(text)
    assert set(texts["en"]) == {
        "<en2ky> I read. <ky> Мен окуйм.",
        "<ky2en> Мен окуйм. <en> I read.",
        "<en2zh> I read. <zh> 我看书。",
        "<zh2en> 我看书。 <en> I read.",
    }
    assert set(texts["zh"]) == {"<zh2ky> 我看书。 <ky> Мен окуйм.", "<ky2zh> Мен окуйм. <zh> 我看书。"}
    assert len(texts["en"]) == 80
    assert len(texts["zh"]) == 40
    assert {source for source, _ in Renderer(("zh", "en"), 1).bilingual(row)} == {"zh", "en"}
    assert [source for source, _ in Renderer(("zh", "en"), 1).bilingual(row)] == ["zh", "zh", "en"]


def test_half_of_the_pairs_go_each_way_by_the_row_alone() -> None:
    renderer = Renderer(("en",), 9)
    rows = [Row(f"r:{index}", {"en": "a", "ky": "b"}, "r") for index in range(2000)]
    forward = [renderer.bilingual(row)[0].text.startswith("<en2ky>") for row in rows]
    assert abs(sum(forward) - 1000) < 4 * np.sqrt(2000 / 4)
    again = [renderer.bilingual(row)[0].text.startswith("<en2ky>") for row in reversed(rows)]
    assert forward == again[::-1]


def test_every_document_is_stored_whole_and_ends_with_the_end_of_sequence(tmp_path: Path, tokenizer: Any) -> None:
    monolingual = write_rows(tmp_path / "m.jsonl", [{"de": "Guten Morgen."}, {"ky": "Салам", "de": "Hallo"}])
    bilingual = write_rows(tmp_path / "b.jsonl", [{"en": "I read.", "ky": "Окуйм."}])
    store = _build(tmp_path / "work", tokenizer, PretrainText(monolingual, bilingual, ("en", "zh")))
    documents = _documents(store, tokenizer)
    assert documents["monolingual"] == ["Guten Morgen.<eos>", "Салам<eos>", "Hallo<eos>"]
    assert documents["en"][0] in ("<en2ky> I read. <ky> Окуйм.<eos>", "<ky2en> Окуйм. <en> I read.<eos>")
    assert documents["zh"] == []
    assert store.names == ("monolingual", "en", "zh")


def test_long_texts_are_cut_evenly_and_what_cannot_be_learned_is_counted(tmp_path: Path, tokenizer: Any) -> None:
    long = sentence(200, 0)
    monolingual = write_rows(tmp_path / "m.jsonl", [{"en": long}, {"en": "an <eos> inside"}, {"en": "short"}])
    bilingual = write_rows(
        tmp_path / "b.jsonl", [{"en": long, "ky": "Окуйм."}, {"de": "Hallo", "ky": "Салам"}, {"en": "a", "ky": "б"}]
    )
    store = _build(tmp_path / "work", tokenizer, PretrainText(monolingual, bilingual, ("en",)), length=64)
    assert store.manifest["set_aside"] == {
        "monolingual": {"special-token": 1},
        "en": {"too-long": 1},
        "bilingual": {"no-pair": 1},
    }
    source = store.sources[0]
    assert "".join(_documents(store, tokenizer)["monolingual"][:-1]) == long + "<eos>"
    assert source.lengths[:-1].max() <= 64
    assert source.lengths[:-1].max() - source.lengths[:-1].min() <= 1
    assert len(_documents(store, tokenizer)["en"]) == 1


class _Killed(Exception):  # noqa: N818  no error: an end
    """Stands for the end of the process."""


class _Dying:
    """A tokenizer that dies at its n-th call."""

    def __init__(self, tokenizer: Any, calls: int) -> None:
        self._tokenizer, self._left = tokenizer, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: Any, **options: Any) -> Any:
        if isinstance(texts, list):
            self._left -= 1
            if self._left < 0:
                raise _Killed
        return self._tokenizer(texts, **options)


def test_a_killed_build_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_BATCH_CHARACTERS", 300)
    monkeypatch.setattr(stores, "_COMMIT_TOKENS", 400)
    text = pretrain_text(tmp_path)
    whole = _bytes(_build(tmp_path / "whole", tokenizer, text))
    deaths = 0
    while True:
        try:
            store = _build(tmp_path / "killed", _Dying(tokenizer, 15), text)
            break
        except _Killed:
            deaths += 1
            part = next((tmp_path / "killed").iterdir()) / "monolingual.tokens"
            with part.open("ab") as file:  # what was appended after the last commit
                file.write(b"torn")
    assert deaths >= 2
    assert _bytes(store) == whole


def test_a_finished_store_is_opened_and_other_text_has_a_store_of_its_own(tmp_path: Path, tokenizer: Any) -> None:
    text = pretrain_text(tmp_path)
    first = _build(tmp_path / "work", tokenizer, text)
    tokenizer(["a", "b b b"], padding=True, truncation=True, max_length=4)  # leaves its mark on the tokenizer
    opened = _build(tmp_path / "work", _Dying(tokenizer, 0), text)
    assert opened.folder == first.folder
    assert _build(tmp_path / "work", tokenizer, text, length=64).folder != first.folder
    pretrain_text(tmp_path, num_texts=61)
    assert _build(tmp_path / "work", tokenizer, text).folder != first.folder


def test_a_full_disk_is_the_users_to_mend_and_what_was_done_is_kept(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_COMMIT_TOKENS", 400)
    monkeypatch.setattr(stores, "_BATCH_CHARACTERS", 300)
    text = pretrain_text(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="ulimit -f"):
            _build(tmp_path / "work", tokenizer, text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _bytes(_build(tmp_path / "work", tokenizer, text)) == _bytes(_build(tmp_path / "other", tokenizer, text))


def test_text_of_which_nothing_is_left_says_what_was_set_aside(tmp_path: Path, tokenizer: Any) -> None:
    bilingual = write_rows(tmp_path / "b.jsonl", [{"de": "Hallo", "ky": "Салам"}])
    with pytest.raises(UserError, match=r"No document is left.*no-pair"):
        _build(tmp_path / "work", tokenizer, PretrainText(None, bilingual, ("en",)))


@pytest.mark.parametrize("line", [b'{"id": "r:1"}\n', b"{\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_named_by_its_place(tmp_path: Path, tokenizer: Any, line: bytes) -> None:
    path = write_rows(tmp_path / "m.jsonl", [{"de": "Hallo"}])
    size = path.stat().st_size + len(line)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(CorruptArtifactError, match=rf"m\.jsonl: .*the line that ends at byte {size} is none"):
        _build(tmp_path / "work", tokenizer, PretrainText(path, None, ()))


def test_a_store_that_was_cut_short_is_not_read(tmp_path: Path, tokenizer: Any) -> None:
    store = _build(tmp_path / "work", tokenizer, pretrain_text(tmp_path))
    file = store.folder / "en.tokens"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(CorruptArtifactError, match=r"en\.tokens"):
        TokenStore(store.folder)
