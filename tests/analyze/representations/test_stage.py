"""Profiles of real models: what is read, with which adapter, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from hexapla.analyze.representations.measures import measure_pairs
from hexapla.analyze.representations.places import Places
from hexapla.analyze.representations.profile import RepresentationProfile
from hexapla.analyze.representations.spec import RepresentationsSpec
from hexapla.analyze.representations.stage import System, profile_system, reading_adapters
from hexapla.analyze.representations.storage import load_profile, save_profile
from hexapla.base import Base, load_tokenizer
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.data.rows import Row
from hexapla.languages import Direction
from hexapla.plan import Layout
from hexapla.pool import Pool, describe_base, write_pool
from hexapla.prompts import get_template
from tests.pipeline.world import sentences
from tests.tiny_models import random_adapter

CODES = ("en", "de", "nl")
LAYOUT = Layout(CODES, ("en",), {"germanic": ("de", "nl")})


def make_rows(number: int = 12) -> list[Row]:
    columns = {code: sentences(code, range(number)) for code in CODES}
    return [Row(f"w:{place}", {code: columns[code][place] for code in CODES}, "w") for place in range(number)]


def profile(
    system: System, work: Path, given: list[Row] | None = None, spec: RepresentationsSpec | None = None
) -> RepresentationProfile:
    rows = make_rows() if given is None else given
    return profile_system(system, rows, CODES, spec or RepresentationsSpec(), work=work, seed=0)


def make_pool(folder: Path, base: Path, routes: dict[str, str | None]) -> Pool:
    """A pool with random adapters of the names that the routes have."""
    described = describe_base(
        name=folder.name,
        base=Base(str(base)),
        tokenizer=load_tokenizer(Base(str(base))),
        template=get_template("alma"),
        layout=LAYOUT,
    )
    names = sorted({name for name in routes.values() if name is not None})
    folders = {name: random_adapter(base, name, seed=i, folder=folder / "made") for i, name in enumerate(names)}
    parsed = {Direction.parse(direction): name for direction, name in routes.items()}
    return write_pool(folder / "pool", replace(described, routes=parsed), folders)


def by_hand(base: Path, adapters: dict[str, Path | None], layer: int) -> np.ndarray:
    """Mean states of the rows' sentences, language by language, by transformers and peft alone."""
    tokenizer = load_tokenizer(Base(str(base)))
    vectors = []
    for code in CODES:
        model = AutoModelForCausalLM.from_pretrained(base).eval()
        folder = adapters[code]
        if folder is not None:
            model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
        for row in make_rows():
            ids = torch.tensor([tokenizer(row.texts[code])["input_ids"]])
            with torch.no_grad():
                vectors.append(model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0].mean(dim=0))
    return torch.stack(vectors).numpy()


def test_a_base(qwen3_base: Path, tmp_path: Path) -> None:
    found = profile(System("base", Base(str(qwen3_base))), tmp_path / "work")
    assert (found.name, found.depth, found.layers, found.languages) == ("base", 2, (0, 1, 2), CODES)
    assert found.num_rows == 12
    assert found.num_shared.tolist() == [[12] * 3] * 3
    assert found.retrieval.shape == found.cka.shape == (3, 3, 3)
    assert found.probe.shape == (3,)
    assert found.probe_by_language.shape == (3, 3)
    assert found.probe_chance == pytest.approx(1 / 3)
    assert set(found.projection) == {0, 1, 2} == set(found.explained)
    assert found.projection[1].shape == (36, 2)
    assert sorted(found.projected) == [(row, code) for row in range(12) for code in sorted(CODES)]
    assert found.adapters == dict.fromkeys(CODES)
    assert list((tmp_path / "work").iterdir()) == []


def expected_cosines(vectors: np.ndarray) -> np.ndarray:
    pairs = measure_pairs(torch.from_numpy(vectors).float(), Places.of(np.ones((12, 3), dtype=bool)))
    return pairs.cosine_others


@pytest.mark.parametrize("kind", ["none", "one", "many"])
def test_each_language_is_read_with_its_own_adapter(kind: str, qwen3_base: Path, tmp_path: Path) -> None:
    """Against transformers and peft, which merges adapters into the weights."""
    routes: dict[str, dict[str, str | None]] = {
        "none": {"de-en": None, "nl-en": None, "en-de": None},
        "one": {"de-en": "all", "nl-en": "all", "en-de": "all", "en-nl": "all"},
        "many": {"de-en": "de-en", "nl-en": None, "en-de": "en-germanic", "en-nl": "en-germanic"},
    }
    read_with: dict[str, dict[str, str | None]] = {
        "none": {"en": None, "de": None, "nl": None},
        "one": {"en": "all", "de": "all", "nl": "all"},
        "many": {"en": None, "de": "de-en", "nl": None},
    }
    pool = make_pool(tmp_path / kind, qwen3_base, routes[kind])
    found = profile(System(kind, pool.description.base, pool), tmp_path / "work")
    assert found.adapters == read_with[kind]
    folders = {code: None if name is None else pool.adapter_folder(name) for code, name in found.adapters.items()}
    for layer in (1, 2):
        expected = expected_cosines(by_hand(qwen3_base, folders, layer))
        np.testing.assert_allclose(found.cosine_others[layer], expected, rtol=1e-3, atol=1e-4)


def test_a_language_that_no_adapter_reads_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "p", qwen3_base, {"de-en": "de-en", "en-de": "en-de"})
    with pytest.raises(UserError, match="translates no nl into en"):
        reading_adapters(pool, CODES)
    assert reading_adapters(pool, ("de", "en")) == {"de": "de-en", "en": None}


def test_rows_with_holes(qwen3_base: Path, tmp_path: Path) -> None:
    rows = make_rows(8)
    rows[0] = replace(rows[0], texts={"en": "alone"})
    rows[1] = replace(rows[1], texts={code: rows[1].texts[code] for code in ("en", "de")})
    found = profile(System("base", Base(str(qwen3_base))), tmp_path, rows)
    assert found.num_rows == 7
    assert found.num_shared.tolist() == [[7, 7, 6], [7, 7, 6], [6, 6, 6]]
    assert not np.isnan(found.retrieval[:, 0, 1:]).any()
    few = profile(System("base", Base(str(qwen3_base))), tmp_path, rows, RepresentationsSpec(rows=4))
    assert few.num_rows == 4
    assert few.num_shared.min() == 4  # the widest rows are taken


def test_rows_are_the_same_in_any_order(qwen3_base: Path, tmp_path: Path) -> None:
    system = System("base", Base(str(qwen3_base)))
    one = profile(system, tmp_path, None, RepresentationsSpec(rows=5))
    other = profile(system, tmp_path, make_rows()[::-1], RepresentationsSpec(rows=5))
    np.testing.assert_array_equal(one.retrieval, other.retrieval)
    np.testing.assert_allclose(one.anisotropy, other.anisotropy, rtol=1e-6)


def test_what_has_no_translations_is_refused(qwen3_base: Path, tmp_path: Path) -> None:
    rows = [Row("a", {"en": "x", "de": "y"}, "w"), Row("b", {"en": "x", "nl": "y"}, "w")]
    for given in (rows, []):
        with pytest.raises(UserError, match="No two of the languages share two rows"):
            profile(System("base", Base(str(qwen3_base))), tmp_path, given)


def test_profiles_are_saved_and_read(qwen3_base: Path, tmp_path: Path) -> None:
    found = profile(System("base", Base(str(qwen3_base))), tmp_path)
    save_profile(tmp_path / "saved", found)
    again = load_profile(tmp_path / "saved")
    for name, value in vars(found).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(again, name), value)
        elif name == "projection":
            assert again.projection.keys() == value.keys()
            for layer in value:
                np.testing.assert_array_equal(again.projection[layer], value[layer])
        else:
            assert getattr(again, name) == value, name
    (tmp_path / "saved" / "arrays.npz").write_bytes(b"PK nothing")
    with pytest.raises(CorruptArtifactError, match=r"arrays\.npz"):
        load_profile(tmp_path / "saved")
    (tmp_path / "saved" / "arrays.npz").unlink()
    with pytest.raises(CorruptArtifactError, match="does not exist"):
        load_profile(tmp_path / "saved")
