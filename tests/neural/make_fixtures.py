"""Tiny random checkpoints written by unbabel-comet, with the scores and errors that its own `predict` gives them.

The tests compare ours with these numbers. unbabel-comet cannot be installed beside Hexapla, so it runs in an
environment of its own:

    python3 -m venv comet-env
    comet-env/bin/pip install "unbabel-comet==2.2.7" "setuptools<81"
    comet-env/bin/python tests/neural/make_fixtures.py

Inputs are `fixtures/samples.json` (sentences of the phrasebook, and edge cases); everything else in `fixtures/` is
written anew, `provenance.json` with the versions last (the training of the tokenizer is not reproducible to the bit,
so a new run gives new numbers throughout). With names of cases as arguments only these are made, and what is recorded
of the others stays: so a case is added. The encoders are XLM-R of 3 layers (XLM-R-XL for xCOMET) with a vocabulary of
a few hundred pieces; a checkpoint remembers its encoder as `encoder` (or `encoder-xl`), relative to `fixtures/`.

unbabel-comet turns `layer_transformation: sparsemax_patch` of hparams.yaml into softmax if it can import
`pkg_resources`, which setuptools 82 no longer brings, and otherwise silently keeps the sparsemax that the checkpoint
remembers; so an older setuptools is part of the environment (torchmetrics 0.10, which it depends on, needs it anyway).
"""

from __future__ import annotations

import copy
import json
import logging
import os
import platform
import shutil
import sys
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
import yaml
from comet.models import load_from_checkpoint, str2model
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast, XLMRobertaXLConfig

FOLDER = Path(__file__).parent / "fixtures"
PACKAGES = (
    "unbabel-comet",
    "torch",
    "transformers",
    "tokenizers",
    "pytorch-lightning",
    "torchmetrics",
    "entmax",
    "numpy",
    "setuptools",
)
MAX_POSITIONS = 50
WIDTH = 16


@dataclass
class Case:
    """One checkpoint.

    Attributes:
        seed: of its random weights.
        model_class: `class_identifier`.
        settings: hyper-parameters that differ from the shared ones.
        top_weight: raw weight of the last layer in the mix; very low: sparsemax gives it none.
        patched: hparams.yaml says `sparsemax_patch` where the checkpoint says sparsemax.
        tag_scale: factor on the weights that tag tokens; random ones as small as usual tag all of them alike.
        encoder: folder of the encoder's configuration and tokenizer.
    """

    seed: int
    model_class: str
    settings: dict[str, Any] = field(default_factory=dict)
    top_weight: float | None = None
    patched: bool = False
    tag_scale: float | None = None
    encoder: str = "encoder"


def mixed(transformation: str, layer_norm: bool, **more: Any) -> dict[str, Any]:
    """Hyper-parameters of the layer mix."""
    return {"layer_transformation": transformation, "layer_norm": layer_norm, **more}


KIWI = {"input_segments": ["mt", "src"]}
XL = {"encoder_model": "XLM-RoBERTa-XL", "pretrained_model": "encoder-xl"}
CASES = {
    "regression-softmax": Case(1, "regression_metric", mixed("softmax", False)),
    "regression-softmax-norm": Case(2, "regression_metric", mixed("softmax", True)),
    "regression-sparsemax": Case(3, "regression_metric", mixed("sparsemax", False), top_weight=-9.0),
    "regression-sparsemax-norm": Case(4, "regression_metric", mixed("sparsemax", True)),
    "regression-max": Case(5, "regression_metric", mixed("softmax", True, pool="max")),
    "regression-cls-layer": Case(
        6, "regression_metric", mixed("softmax", False, pool="cls", layer=2, final_activation="Sigmoid")
    ),
    "unified-softmax": Case(7, "unified_metric", mixed("softmax", False, **KIWI)),
    "unified-softmax-norm": Case(8, "unified_metric", mixed("softmax", True, **KIWI)),
    "unified-sparsemax": Case(9, "unified_metric", mixed("sparsemax", False, **KIWI), top_weight=-9.0),
    "unified-sparsemax-norm": Case(10, "unified_metric", mixed("sparsemax", True, **KIWI)),
    "unified-patched": Case(11, "unified_metric", mixed("sparsemax", False, **KIWI), patched=True),
    "unified-words": Case(
        12, "unified_metric", mixed("softmax", False, **KIWI, word_level_training=True, word_layer=2)
    ),
    "unified-three": Case(13, "unified_metric", mixed("softmax", False)),
    "ranking": Case(14, "ranking_metric", mixed("softmax", False)),
    "xcomet": Case(
        15, "xcomet_metric", mixed("sparsemax", False, word_layer=3, **XL), encoder="encoder-xl", patched=True
    ),
    "xcomet-errors": Case(
        18, "xcomet_metric", mixed("softmax", False, word_layer=1, **XL), encoder="encoder-xl", tag_scale=4.0
    ),
}


def write_encoders(sentences: list[str]) -> None:
    """The configurations of the encoders, and a tokenizer built as XLM-R's is."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=320, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    shape = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": MAX_POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        # Random weights as small as usual would give every sentence the same score.
        "initializer_range": 0.3,
    }
    for name, config in (("encoder", XLMRobertaConfig(**shape)), ("encoder-xl", XLMRobertaXLConfig(**shape))):
        config.save_pretrained(FOLDER / name)
        XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(FOLDER / name)
        for superfluous in ("special_tokens_map.json", "tokenizer_config.json"):
            (FOLDER / name / superfluous).unlink(missing_ok=True)


def build(case: Case, **overrides: Any) -> Any:
    """The model with its random weights."""
    settings: dict[str, Any] = {
        "encoder_model": "XLM-RoBERTa",
        "pretrained_model": case.encoder,
        "hidden_sizes": [20, 12],
        "activations": "Tanh",
        "load_pretrained_weights": False,
        **case.settings,
        **overrides,
    }
    if case.model_class == "ranking_metric":
        settings = {key: value for key, value in settings.items() if key not in {"hidden_sizes", "activations"}}
    torch.manual_seed(case.seed)
    model = str2model[case.model_class](**settings)
    # transformers leaves an encoder that is built from its configuration at torch's defaults in parts
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name or "layer_norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "layerwise_attention.scalar" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        if model.layerwise_attention is not None:
            model.layerwise_attention.gamma.fill_(1.3)
            if case.top_weight is not None:
                model.layerwise_attention.scalar_parameters[-1].fill_(case.top_weight)
        if case.tag_scale is not None:
            model.hidden2tag.weight.mul_(case.tag_scale)
    return model


def save(name: str, case: Case) -> Path:
    """Write the checkpoint as unbabel-comet's training does."""
    folder = FOLDER / name
    (folder / "checkpoints").mkdir(parents=True)
    model = build(case)
    trainer = pytorch_lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(model)
    path = folder / "checkpoints" / "model.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    written = copy.deepcopy(dict(model.hparams))
    written["class_identifier"] = case.model_class
    if case.patched:
        written["layer_transformation"] = "sparsemax_patch"
    (folder / "hparams.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def predict(path: Path, samples: list[dict[str, str]], *, with_references: bool = True) -> Any:
    """What `predict` gives, loaded as its documentation says."""
    model = load_from_checkpoint(str(path))
    names = {"source": "src", "hypothesis": "mt", "reference": "ref"}
    if not with_references:
        del names["reference"]
    inputs = [{short: sample[long] for long, short in names.items()} for sample in samples]
    return model.predict(inputs, batch_size=8, gpus=0, progress_bar=False)


def record(file: str, found: dict[str, Any]) -> None:
    """Write what was found of cases into a file, and keep what it holds of others."""
    path = FOLDER / file
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    """Write `fixtures/` anew, or of it the cases of these names."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    samples = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    stale = [FOLDER / name for name in names] or [path for path in FOLDER.iterdir() if path.name != "samples.json"]
    for path in filter(Path.exists, stale):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.chdir(FOLDER)
    if not names:
        write_encoders([text for sample in samples for text in (sample["source"], sample["reference"])])
    scores, errors = {}, {}
    for name in names or CASES:
        case = CASES[name]
        path = save(name, case)
        if case.model_class == "ranking_metric":
            continue
        found = {name: predict(path, samples)}
        if case.model_class == "xcomet_metric" or name == "unified-three":
            found[f"{name} without references"] = predict(path, samples, with_references=False)
        scores |= {title: list(given["scores"]) for title, given in found.items()}
        if case.model_class == "xcomet_metric":
            errors |= {title: given["metadata"]["error_spans"] for title, given in found.items()}
    record("scores.json", scores)
    record("errors.json", errors)
    provenance = {
        "command": "python tests/neural/make_fixtures.py",
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "seeds": {name: case.seed for name, case in CASES.items()},
        "predict": {"batch_size": 8, "gpus": 0, "precision": "fp32"},
    }
    (FOLDER / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
