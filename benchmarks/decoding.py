"""Decoding speed of our loop against transformers' `generate` in fixed batches, on a random base of miniature size.

The requests have random prompts and random output lengths (no end-of-sequence token is ever produced): ours lets a row
leave at its length, `generate` runs a batch until its longest row is done. `generate` cannot mix adapters, so it is run
without.

    python benchmarks/decoding.py --requests 600 --beams 1 5 --adapters 0 20
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.base import Base, linear_shapes
from hexapla.translate.engines.engine import DecodeRequest
from hexapla.translate.engines.torch_engine import TorchEngine
from hexapla.translate.spec import TranslateSpec

VOCABULARY = 6144
FRAME_TOKENS = 14


def write_base(folder: Path) -> None:
    """A random Qwen3 of 3.3 M parameters."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=576,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = {f"w{token}": token for token in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w1").save_pretrained(folder)


def random_adapters(engine: TorchEngine, number: int) -> dict[str, LoraAdapter]:
    """Adapters of rank 16 on every linear layer."""
    generator = torch.Generator().manual_seed(0)

    def factor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.02

    shapes = linear_shapes(engine.model, "all-linear")
    settings = LoraSettings(16, 16.0, ("all-linear",), "random")
    return {
        f"adapter-{place:02}": LoraAdapter(
            settings, {shape.path: (factor(16, shape.d_in), factor(shape.d_out, 16)) for shape in shapes}
        )
        for place in range(number)
    }


def random_requests(number: int, adapters: list[str]) -> list[DecodeRequest]:
    """Sources of 4 to 13 tokens in a frame of 14, outputs up to two tokens shorter or longer; longest first."""
    rng = random.Random(0)
    requests = []
    for _ in range(number):
        num_source = rng.randrange(4, 14)
        prompt = [rng.randrange(2, VOCABULARY) for _ in range(num_source + FRAME_TOKENS)]
        requests.append(
            DecodeRequest(prompt, rng.choice(adapters) if adapters else None, num_source + rng.randrange(-2, 3))
        )
    return sorted(requests, key=lambda request: (-len(request.prompt), request.adapter or ""))


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def ours(
    engine: TorchEngine, requests: list[DecodeRequest], adapters: dict[str, LoraAdapter], spec: TranslateSpec
) -> None:
    """Decode under the token budget, as `Translator` does."""
    stack = engine.load_adapters(adapters)
    start = 0
    while start < len(requests):
        num_rows = max(1, spec.batch_tokens // (len(requests[start].prompt) * spec.beams))
        engine.decode(requests[start : start + num_rows], stack, spec)
        start += num_rows


def transformers_generate(engine: TorchEngine, requests: list[DecodeRequest], beams: int, batch_size: int) -> None:
    """Decode in fixed batches, also sorted by length."""
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        width = max(len(request.prompt) for request in batch)
        ids = torch.tensor([[0] * (width - len(request.prompt)) + list(request.prompt) for request in batch])
        lengths = torch.tensor([len(request.prompt) for request in batch])
        engine.model.generate(
            input_ids=ids,
            attention_mask=(torch.arange(width) >= width - lengths[:, None]).long(),
            num_beams=beams,
            do_sample=False,
            max_new_tokens=max(request.max_new_tokens for request in batch),
            eos_token_id=None,
            pad_token_id=0,
        )


def main() -> None:
    """Print a line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--adapters", type=int, nargs="+", default=[0, 20])
    parser.add_argument("--generate-batch", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_base(Path(folder))
        engine = TorchEngine(Base(folder))
    engine._kinds.ends.zero_()
    engine.model.generation_config.eos_token_id = None
    print(f"{engine.device}, {torch.get_num_threads()} threads, {arguments.requests} requests")
    for beams in arguments.beams:
        for number in arguments.adapters:
            adapters = random_adapters(engine, number)
            requests = random_requests(arguments.requests, list(adapters))
            spec = TranslateSpec(beams=beams, loop_ngram=0)
            wall, processor = measure(partial(ours, engine, requests, adapters, spec))
            print(f"ours      beams {beams} adapters {number:2}: {wall:6.1f} s, {processor:6.1f} s of processor")
        requests = random_requests(arguments.requests, [])
        run = partial(transformers_generate, engine, requests, beams, arguments.generate_batch)
        wall, processor = measure(run)
        print(f"generate  beams {beams} adapters  0: {wall:6.1f} s, {processor:6.1f} s of processor")


if __name__ == "__main__":
    main()
