"""Pools on disk: whole, verified, readable by peft, and refused by name when something does not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hexapla.adapter import read_adapter, write_adapter
from hexapla.base import Base, fingerprint, linear_shapes, load_config, load_model, load_tokenizer, model_skeleton
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.languages import Direction
from hexapla.plan import Layout
from hexapla.pool import Pool, describe_base, write_pool
from hexapla.prompts import get_template
from tests.tiny_models import random_adapter

LAYOUT = Layout(("en", "de", "nl"), ("en",), {"germanic": ("de", "nl")})


@pytest.fixture
def pool(tmp_path: Path, qwen3_base: Path) -> Pool:
    base = Base(str(qwen3_base))
    described = describe_base(
        name="p", base=base, tokenizer=load_tokenizer(base), template=get_template("alma"), layout=LAYOUT
    )
    folders = {
        name: random_adapter(qwen3_base, name, rank=2 + i, seed=i, folder=tmp_path / "made")
        for i, name in enumerate(("de-en", "en-germanic"))
    }
    routes = {
        Direction("en", "de"): "en-germanic",
        Direction("en", "nl"): "en-germanic",
        Direction("de", "en"): "de-en",
        Direction("nl", "en"): None,
    }
    return write_pool(tmp_path / "pool", replace(described, routes=routes, provenance={"seed": 0}), folders)


def test_round_trip(pool: Pool) -> None:
    again = Pool.load(pool.folder)
    assert again.description == pool.description
    assert again.adapters == pool.adapters
    assert again.route(Direction("en", "nl")) == "en-germanic"
    assert again.route(Direction("nl", "en")) is None
    assert again.num_parameters == sum(
        read_adapter(again.adapter_folder(name)).num_parameters for name in again.adapters
    )


def test_a_pool_can_hold_its_own_base_and_be_moved(pool: Pool, tmp_path: Path, qwen3_base: Path) -> None:
    auxiliaries = {Direction("en", "de"): "nl"}
    described = replace(pool.description, routes=dict.fromkeys(LAYOUT.directions), auxiliaries=auxiliaries)
    made = write_pool(tmp_path / "whole", described, {}, model=qwen3_base)
    assert made.own_model == tmp_path / "whole" / "model"
    shutil.move(tmp_path / "whole", tmp_path / "elsewhere")
    moved = Pool.load(tmp_path / "elsewhere")
    assert moved.description.base.folder == moved.own_model == tmp_path / "elsewhere" / "model"
    assert moved.description.auxiliaries == auxiliaries
    moved.require_base(Base(str(qwen3_base)))
    assert fingerprint(moved.description.base) == moved.description.base_fingerprint
    assert pool.own_model is None


def test_peft_reads_what_we_write(pool: Pool, tmp_path: Path, qwen3_base: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = pool.read_adapter("de-en")
    write_adapter(tmp_path / "rewritten", adapter, card="rewritten")
    tokens = torch.arange(5, 25).reshape(2, 10)
    logits = []
    for folder in (pool.adapter_folder("de-en"), tmp_path / "rewritten"):
        model = AutoModelForCausalLM.from_pretrained(qwen3_base, dtype=torch.float32)
        bare = model(tokens).logits
        adapted = PeftModel.from_pretrained(model, folder)(tokens).logits
        assert (adapted - bare).abs().max() > 0.01
        logits.append(adapted)
    assert torch.equal(*logits)


def test_scales_follow_peft(tmp_path: Path, qwen3_base: Path) -> None:
    import torch
    from peft import PeftModel

    folder = random_adapter(
        qwen3_base,
        "patterns",
        rank=4,
        folder=tmp_path,
        use_rslora=True,
        rank_pattern={"q_proj": 2},
        alpha_pattern={"layers.1.mlp.up_proj": 3},
    )
    model = PeftModel.from_pretrained(
        load_model(Base(str(qwen3_base)), dtype=torch.float32, device=torch.device("cpu")), folder
    )
    adapter = read_adapter(folder)
    assert adapter.factors["model.layers.0.self_attn.q_proj"][0].shape[0] == 2
    for path in adapter.factors:
        layer = model.base_model.model.get_submodule(path)
        assert adapter.settings.scale(path) == pytest.approx(layer.scaling["default"]), path


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "config"])
def test_damaged_adapters_are_refused_by_name(pool: Pool, damage: str) -> None:
    weights = pool.adapter_folder("de-en") / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "truncate":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "remove":
        weights.unlink()
    else:
        config = pool.adapter_folder("de-en") / "adapter_config.json"
        config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 8'))
    with pytest.raises(CorruptArtifactError, match="'de-en'"):
        Pool.load(pool.folder)


def test_wrong_base_is_refused(pool: Pool, llama_base: Path) -> None:
    pool.require_base(pool.description.base)
    with pytest.raises(UserError, match="fingerprint"):
        pool.require_base(Base(str(llama_base)))


def test_changed_template_is_refused(pool: Pool) -> None:
    tokenizer = load_tokenizer(pool.description.base)
    assert pool.require_template(tokenizer).name == "alma"
    record = json.loads((pool.folder / "pool.json").read_text())
    record["prompt"]["hash"] = "0" * 64
    (pool.folder / "pool.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="prompt template 'alma'"):
        Pool.load(pool.folder).require_template(tokenizer)


def test_unknown_direction_lists_what_there_is(pool: Pool) -> None:
    with pytest.raises(UserError, match=r"does not translate de-nl.*From de it translates into: en"):
        pool.route(Direction("de", "nl"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 99}, UserError, "format 99"),
        ({"routes": None}, CorruptArtifactError, "missing or of the wrong kind"),
        ({"routes": {"de-en": "nobody"}}, CorruptArtifactError, "nobody"),
        ({"hubs": ["fr"]}, UserError, "fr"),
    ],
)
def test_odd_pool_files(pool: Pool, change: dict[str, object], error: type[Exception], message: str) -> None:
    record = json.loads((pool.folder / "pool.json").read_text()) | change
    (pool.folder / "pool.json").write_text(json.dumps(record))
    with pytest.raises(error, match=message):
        Pool.load(pool.folder)


def test_no_pool_and_cut_pool(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pool\.json"):
        Pool.load(tmp_path)
    path = pool.folder / "pool.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(CorruptArtifactError, match="not readable JSON"):
        Pool.load(pool.folder)


def test_a_route_to_nowhere_is_refused_and_leaves_nothing(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="de-en"):
        write_pool(tmp_path / "other", pool.description, {})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(
    pool: Pool, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pool.adapter_folder("de-en"), folder)
    config = json.loads((folder / "adapter_config.json").read_text()) | change
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_adapter(folder)


def test_fingerprint_sees_weights_and_config(tmp_path: Path, qwen3_base: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(qwen3_base, folder)
    before = fingerprint(Base(str(folder)))
    assert before == fingerprint(Base(str(qwen3_base)))
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert fingerprint(Base(str(folder))) != before


def test_bases_that_cannot_be_used(tmp_path: Path, qwen3_base: Path) -> None:
    with pytest.raises(UserError, match="neither a folder here nor a hub id"):
        load_config(Base(str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="no builtin base"):
        load_config(Base("builtin:huge"))
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="no causal language model"):
        load_config(Base(str(tmp_path)))
    folder = tmp_path / "cut"
    shutil.copytree(qwen3_base, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    import torch

    with pytest.raises(UserError, match="weights of the base"):
        load_model(Base(str(folder)), dtype=torch.float32, device=torch.device("cpu"))


def test_llama_2_13b_gives_the_paper_sizes() -> None:
    from hexapla.base import adapter_parameters, load_shape

    shapes = linear_shapes(model_skeleton(load_shape(Base("meta-llama/Llama-2-13b-hf"))), "all-linear")
    assert adapter_parameters(shapes, 16) == 62_586_880  # DAT: 62.6 M; 57 adapters "13B/4B", 16 adapters "13B/1B"
    with pytest.raises(UserError, match="'qkv_proj'"):
        linear_shapes(model_skeleton(load_shape(Base("meta-llama/Llama-2-13b-hf"))), ("qkv_proj",))
