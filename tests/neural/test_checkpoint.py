"""Checkpoints that cannot be used are refused, with a word on what to do; none of them runs code."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.neural import load_scorer
from hexapla.neural.checkpoint import find_checkpoint
from tests.neural.conftest import ENCODER, FIXTURES, Samples, rewrite_weights


def load(folder: Path) -> Any:
    return load_scorer(str(folder), tokenizer=ENCODER, device="cpu")


def test_a_safetensors_conversion_scores_the_same(copy: Any, samples: Samples) -> None:
    folder = copy("unified-patched")
    expected = load(folder).score(samples.sources, samples.hypotheses)
    content = torch.load(folder / "checkpoints" / "model.ckpt", weights_only=True)
    save_file(content["state_dict"], folder / "model.safetensors")
    shutil.rmtree(folder / "checkpoints")
    assert load(folder).score(samples.sources, samples.hypotheses) == expected


def test_a_checkpoint_of_another_name_is_found_if_it_is_the_only_one(copy: Any) -> None:
    folder = copy("unified-softmax")
    (folder / "checkpoints" / "model.ckpt").rename(folder / "checkpoints" / "epoch=1.ckpt")
    load(folder)
    shutil.copy(folder / "checkpoints" / "epoch=1.ckpt", folder / "checkpoints" / "epoch=2.ckpt")
    with pytest.raises(UserError, match=r"2 other checkpoints.*model\.ckpt"):
        load(folder)


def test_the_tokenizer_may_lie_beside_the_checkpoint(copy: Any, samples: Samples) -> None:
    folder = copy("regression-softmax")
    texts = (samples.sources, samples.hypotheses, samples.references)
    expected = load(folder).score(*texts)
    with pytest.raises(UserError, match=r"tokenizer\.json of encoder is not in the local cache"):
        load_scorer(str(folder), tokenizer=None)
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(Path(ENCODER) / name, folder)
    assert load_scorer(str(folder), device="cpu").score(*texts) == expected


class Payload:
    """What a malicious checkpoint does when it is opened carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it ran")


def test_a_pickled_payload_is_refused_and_does_not_run(copy: Any, tmp_path: Path) -> None:
    folder, trace = copy("regression-softmax"), tmp_path / "trace"

    def poison(content: dict[str, Any]) -> None:
        content["callbacks"] = Payload(trace)

    rewrite_weights(folder, poison)
    with pytest.raises(UserError, match=r"could run code; it was not opened"):
        load(folder)
    (folder / "checkpoints" / "model.ckpt").write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(UserError, match="never opened"):
        load(folder)
    assert not trace.exists()
    with (folder / "checkpoints" / "model.ckpt").open("rb") as file:  # the payload would have worked
        pickle.load(file)
    assert trace.exists()


def test_yaml_runs_nothing(copy: Any) -> None:
    folder = copy("regression-softmax")
    (folder / "hparams.yaml").write_text("class_identifier: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="no plain YAML"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_checkpoints(copy: Any, share: float) -> None:
    path = copy("regression-softmax") / "checkpoints" / "model.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CorruptArtifactError, match="damaged"):
        load(path.parents[1])


def test_truncated_safetensors(copy: Any) -> None:
    folder = copy("regression-softmax")
    save_file({"a": torch.zeros(9)}, folder / "model.safetensors")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CorruptArtifactError, match="damaged or cut short"):
        load(folder)


def test_another_zip_file(copy: Any, tmp_path: Path) -> None:
    folder = copy("regression-softmax")
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "a.txt").write_text("a")
    made = shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path / "something")
    shutil.copy(made, folder / "checkpoints" / "model.ckpt")
    with pytest.raises(CorruptArtifactError, match="damaged"):
        load(folder)
    torch.save({"weights": {}}, folder / "checkpoints" / "model.ckpt")
    with pytest.raises(CorruptArtifactError, match="state_dict"):
        load(folder)


@pytest.mark.parametrize("name", ["ranking_metric", "referenceless_regression_metric", "wav2vec", 3])
def test_models_of_other_classes(copy: Any, name: Any) -> None:
    folder = copy("ranking", class_identifier=name)
    with pytest.raises(UserError, match=rf"class {name!r}.*not supported.*regression_metric, unified_metric"):
        find_checkpoint(str(folder))


def test_a_checkpoint_that_is_not_what_hparams_says(copy: Any) -> None:
    folder = copy(
        "regression-softmax", class_identifier="unified_metric", sent_layer="mix", input_segments=["mt", "src"]
    )
    with pytest.raises(CorruptArtifactError, match=r"estimator\.ff\.0\.weight.*20 × 96, expected 20 × 16"):
        load(folder)


def test_hparams_that_contradict_the_checkpoint(copy: Any) -> None:
    with pytest.raises(UserError, match=r"layer_norm: True, the checkpoint itself says False.*correct hparams"):
        load(copy("regression-softmax", layer_norm=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_identifier": None}, "which class of model"),
        ({"pool": None}, "does not say pool"),
        ({"layer": None, "pool": None}, "does not say pool, layer"),
        ({"hidden_sizes": None}, "hidden_sizes"),
        ({"hidden_sizes": []}, "hidden_sizes"),
        ({"encoder_model": "BERT"}, r"encoder_model.*XLM-RoBERTa"),
        ({"layer_transformation": "entmax"}, r"layer_transformation.*softmax"),
        ({"pool": "median"}, "pool"),
        ({"layer_norm": "perhaps"}, "layer_norm"),
    ],
)
def test_incomplete_or_unknown_hyperparameters(copy: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        find_checkpoint(str(copy("regression-softmax", **changes)))
    assert "hparams.yaml" in str(caught.value)


def test_hyperparameters_that_only_the_weights_disprove(copy: Any) -> None:
    def without(content: dict[str, Any]) -> None:
        del content["hyper_parameters"]

    for changes, message in (
        ({"activations": "Mish"}, "activation 'Mish'"),
        ({"layer": 9}, "no layer 9.*0 to 3"),
        ({"hidden_sizes": [20]}, r"estimator\.ff\.3\.weight"),
        ({"encoder_model": "XLM-RoBERTa-XL"}, r"self_attn_layer_norm"),
    ):
        folder = copy("regression-softmax", **changes)
        rewrite_weights(folder, without)
        with pytest.raises(UserError, match=message):
            load(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["layerwise_attention.gamma", "encoder.model.encoder.layer.1.output.dense.bias"])
def test_missing_tensors(copy: Any, name: str) -> None:
    folder = copy("regression-softmax")
    rewrite_weights(folder, lambda content: content["state_dict"].pop(name))
    with pytest.raises(CorruptArtifactError, match=name):
        load(folder)


def test_tensors_without_a_place(copy: Any, samples: Samples) -> None:
    folder = copy("regression-softmax")
    expected = load(folder).score(samples.sources, samples.hypotheses, samples.references)
    # buffers that older releases saved
    idle = {
        "encoder.model.embeddings.position_ids": torch.arange(50)[None],
        "encoder.model.pooler.dense.bias": torch.ones(16),
    }
    rewrite_weights(folder, lambda content: content["state_dict"].update(idle))
    assert load(folder).score(samples.sources, samples.hypotheses, samples.references) == expected
    rewrite_weights(folder, lambda content: content["state_dict"].update({"encoder.adapter.weight": torch.ones(1)}))
    with pytest.raises(CorruptArtifactError, match=r"1 tensors have no place.*encoder\.adapter"):
        load(folder)


def test_layers_above_the_mix_are_no_surplus(copy: Any) -> None:
    load(copy("regression-sparsemax"))  # its top layer has no weight


def test_tokenizers_of_other_encoders(copy: Any, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(Path(ENCODER) / "config.json", folder)
    special = {"<s>": 0, "<pad>": 1, "</s>": 2}
    Tokenizer(models.WordLevel({**special, **{f"w{n}": n for n in range(3, 999)}}, "w3")).save(
        str(folder / "tokenizer.json")
    )
    with pytest.raises(UserError, match=r"999 ids, the encoder 320.*neural\.tokenizer"):
        load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=str(folder))
    Tokenizer(models.WordLevel({"a": 0}, "a")).save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="not XLM-R's"):
        load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=str(folder))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="no tokenizer"):
        load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json.*neural\.tokenizer"):
        load_scorer(str(FIXTURES / "regression-softmax"), tokenizer=str(folder))


def test_missing_files(copy: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'no/such/folder/here', is neither a folder here nor a hub id"):
        find_checkpoint("no/such/folder/here")
    with pytest.raises(UserError, match="neither a folder here"):
        find_checkpoint("./missing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"no hparams\.yaml"):
        find_checkpoint(str(tmp_path / "nothing"))
    folder = copy("regression-softmax")
    (folder / "checkpoints" / "model.ckpt").unlink()
    with pytest.raises(UserError, match=r"no weights.*checkpoints/model\.ckpt"):
        find_checkpoint(str(folder))


def test_the_fingerprint_tells_weights_and_hyperparameters_apart(copy: Any) -> None:
    folder = copy("regression-softmax")
    first = find_checkpoint(str(folder)).identity
    assert first == find_checkpoint(str(FIXTURES / "regression-softmax")).identity
    path = folder / "hparams.yaml"
    path.write_text(path.read_text() + "\n")
    second = find_checkpoint(str(folder)).identity
    rewrite_weights(folder, lambda content: content["state_dict"]["estimator.ff.6.bias"].add_(1))
    assert len({first, second, find_checkpoint(str(folder)).identity}) == 3
