"""Speed of our COMET against unbabel-comet's `predict` on the CPU, on one multi-way test set of 8 directions.

Both score the same checkpoint, a regression metric of XLM-R-base's shape with random weights, which unbabel-comet
writes; both run here, in turn, with the same number of threads. Sentences are NTREX-128's (`--texts`, the folder of its
`newstest2019-*.txt`) or the phrasebook's, which are very short; hypotheses are references with words dropped and
swapped, different for every system and direction. unbabel-comet scores direction by direction with its defaults; ours
too, with one scorer. Loading is not counted; every repetition begins with nothing remembered. On a machine that does
other things as well, believe the ratio of processor times, with `--threads 1`.

    python benchmarks/comet_speed.py --comet-python comet-env/bin/python --texts NTREX-128 --systems 1 3
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "src.eng", "de": "ref.deu", "es": "ref.spa", "it": "ref.ita", "ru": "ref.rus"}
DIRECTIONS = [direction for other in list(LANGUAGES)[1:] for direction in (("en", other), (other, "en"))]

# Runs in unbabel-comet's environment, which knows nothing of ours.
WORKER = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore")
import pytorch_lightning, torch, yaml
from comet.models import load_from_checkpoint, str2model
from pathlib import Path
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
folder, sentences, threads = Path(sys.argv[1]), json.load(open(sys.argv[2])), int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(0)
tokenizer = Tokenizer(models.Unigram())
tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
tokenizer.train_from_iterator(sentences, trainers.UnigramTrainer(
    vocab_size=32000, special_tokens=special, unk_token="<unk>", show_progress=False))
tokenizer.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
XLMRobertaConfig(vocab_size=250002, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
    intermediate_size=3072, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5).save_pretrained(folder)
model = str2model["regression_metric"](pretrained_model=str(folder), load_pretrained_weights=False,
    layer_transformation="softmax", layer_norm=False, hidden_sizes=[3072, 1024])
(folder / "checkpoints").mkdir()
trainer = pytorch_lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
trainer.strategy.connect(model)
path = folder / "checkpoints" / "model.ckpt"
trainer.save_checkpoint(path, weights_only=True)
(folder / "hparams.yaml").write_text(yaml.safe_dump({**model.hparams, "class_identifier": "regression_metric"}))
model = load_from_checkpoint(str(path))
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    began, busy, scores = time.perf_counter(), time.process_time(), []
    for samples in json.loads(line):
        scores.append(model.predict(samples, gpus=0, progress_bar=False)["scores"])
    seconds = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)
"""


def read_texts(folder: Path | None, number: int) -> dict[str, list[str]]:
    """`number` sentences in each language, evenly spaced over the whole."""
    if folder is None:
        from hexapla.phrasebook.corpus import rows

        found = list(itertools.islice(rows("test"), 40 * number))
        return {language: [row.texts[language] for row in _spread(found, number)] for language in LANGUAGES}
    texts = {}
    for language, name in LANGUAGES.items():
        lines = (folder / f"newstest2019-{name}.txt").read_text(encoding="utf-8").splitlines()
        texts[language] = _spread(lines, number)
    return texts


def _spread(items: list[Any], number: int) -> list[Any]:
    return [items[place * len(items) // number] for place in range(number)]


def translate(reference: str, seed: str) -> str:
    """A hypothesis: the reference with one word in eight dropped and one in eight swapped with the next."""
    rng = random.Random(seed)
    words = [word for word in reference.split() if rng.random() > 0.125]
    for place in range(len(words) - 1):
        if rng.random() < 0.125:
            words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


@contextmanager
def unbabel_comet(python: Path, folder: Path, texts: dict[str, list[str]], threads: int) -> Iterator[Any]:
    """A process that answers lists of samples with seconds and scores; it writes the checkpoint first."""
    sentences = folder / "sentences.json"
    sentences.write_text(json.dumps([text for side in texts.values() for text in side]), encoding="utf-8")
    process = subprocess.Popen(
        [str(python), "-c", WORKER, str(folder), str(sentences), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(request: Any) -> Any:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        if not process.stdout.readline():
            raise SystemExit("unbabel-comet's environment does not work: see tests/neural/make_fixtures.py")
        yield ask
    finally:
        process.stdin.close()
        process.wait()


def ours(folder: Path, work: list[list[dict[str, str]]]) -> tuple[tuple[float, float], list[list[float]], int]:
    """Seconds on the clock and of the processor, scores, and how many sentences were encoded."""
    from hexapla.neural import load_scorer

    scorer = load_scorer(str(folder), precision="fp32", device="cpu")
    began, busy = time.perf_counter(), time.process_time()
    scores = [scorer.score(*([sample[key] for sample in samples] for key in ("src", "mt", "ref"))) for samples in work]
    return (time.perf_counter() - began, time.process_time() - busy), scores, scorer.num_encoded


def main() -> None:
    """Print the ratio of speeds, and the largest difference between scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comet-python", type=Path, required=True, help="python of an environment with unbabel-comet")
    parser.add_argument("--texts", type=Path, help="folder of newstest2019-*.txt; without it the phrasebook")
    parser.add_argument("--segments", type=int, default=100, help="sentences of the test set")
    parser.add_argument("--systems", type=int, nargs="+", default=[1, 3], help="numbers of systems that are compared")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    texts = read_texts(arguments.texts, arguments.segments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = read_texts(arguments.texts, 1997) if arguments.texts else texts
        with unbabel_comet(arguments.comet_python, folder, vocabulary, arguments.threads) as ask:
            for num_systems in arguments.systems:
                work = [
                    [
                        {"src": source, "mt": translate(reference, f"{system} {pair} {place}"), "ref": reference}
                        for place, (source, reference) in enumerate(zip(texts[pair[0]], texts[pair[1]], strict=True))
                    ]
                    for system in range(num_systems)
                    for pair in DIRECTIONS
                ]
                compare(folder, ask, work, arguments.repeats, f"{num_systems} systems, {len(DIRECTIONS)} directions")


def compare(folder: Path, ask: Any, work: list[list[dict[str, str]]], repeats: int, title: str) -> None:
    """Score the same work in turn, and print."""
    num_segments = sum(len(samples) for samples in work)
    ratios = []
    for _ in range(repeats):
        answer = ask(work)
        seconds, scores, num_encoded = ours(folder, work)
        pairs = zip(itertools.chain(*answer["scores"]), itertools.chain(*scores), strict=True)
        difference = max(abs(theirs - own) for theirs, own in pairs)
        ratios.append([theirs / own for theirs, own in zip(answer["seconds"], seconds, strict=True)])
        print(
            f"{title}, {num_segments} segments: unbabel-comet {num_segments / answer['seconds'][0]:.2f} segments/s, "
            f"ours {num_segments / seconds[0]:.2f} ({num_encoded} of {3 * num_segments} sentences encoded), ratio "
            f"{ratios[-1][0]:.2f}, of processor time {ratios[-1][1]:.2f}; largest difference {difference:.1e}",
            flush=True,
        )
    clock, processor = (statistics.median(ratio[kind] for ratio in ratios) for kind in (0, 1))
    print(f"{title}: median ratio {clock:.2f}, of processor time {processor:.2f}", flush=True)


if __name__ == "__main__":
    main()
