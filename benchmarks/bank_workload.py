"""What `bank_speed.py` trains, and the clock that all sides are measured with.

A workload depends on its cell only, so every side sees the same token ids in the same batches. Building the base and
the adapters' layers is not timed on any side; from laying out the first batch to the last update everything is.
"""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from hexapla.train.encoding import EncodedExample

SMALL_SHAPES = {  # hidden size, layers, head size, vocabulary, tokens that a baseline trains on
    "tiny": (128, 4, 32, 6144, 40_000),
    "small": (256, 6, 64, 16384, 16_000),
    "60m": (512, 8, 64, 32768, 6_000),
}
HUB_SHAPES = {  # hub id, sequences that the baselines send through at once on a GPU of 140 GB, tokens as above
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B-Base", 32, 400_000),
    "qwen3-4b": ("Qwen/Qwen3-4B-Base", 32, 150_000),
    "llama-2-13b": ("meta-llama/Llama-2-13b-hf", 16, 60_000),
}
RANK, ALPHA = 16, 32.0
SPREAD = 0.46  # of the logarithm of sequence lengths: that of news sentences with a translation and a short prompt
PROMPT_SHARE = (0.575, 0.05)  # mean and deviation of the prompt's share of a sequence's tokens
WARMUP_BATCHES = 2
FEW_BATCHES = 4  # with fewer an adapter has whole ones, lest smaller last ones be a large share
UNEVENNESS = 0.3  # adapters' numbers of examples lie within ±30 % of their mean


@dataclass(frozen=True)
class Cell:
    """One measurement: a base, a pool, and how they are run.

    Attributes:
        tokens: the pool has at least so many; a baseline, whose rate does not depend on the size of the pool, trains
            its first adapters until it has seen so many.
        min_steps: adapters have at least so many batches on average.
        micro_batch: sequences that the baselines send through the base at once.
        packed_attention: transformers' attention for `peft-packed`.
    """

    shape: str
    num_adapters: int
    batch: int
    tokens: int
    min_steps: int
    threads: int
    device: str
    dtype: str
    micro_batch: int
    packed_attention: str

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Mean, shortest and longest sequence, tokens."""
        return (120, 16, 512) if self.device == "cuda" else (60, 16, 256)


@dataclass(frozen=True)
class Workload:
    """Adapters as lists of batches.

    Attributes:
        adapters: the whole pool, which the bank trains.
        sample: those of them that a baseline trains.
        warmup: one more adapter, trained first on every side and not timed.
    """

    adapters: list[list[list[EncodedExample]]]
    sample: list[list[list[EncodedExample]]]
    warmup: list[list[EncodedExample]]


def make_workload(cell: Cell) -> Workload:
    """Random token ids in sequences with the lengths of translation data."""
    rng = np.random.default_rng(0)
    vocabulary = base_config(cell.shape).vocab_size
    mean_size = max(cell.tokens / (cell.num_adapters * cell.lengths[0]), cell.min_steps * cell.batch)
    places = np.linspace(-1, 1, cell.num_adapters) if cell.num_adapters > 1 else np.zeros(1)
    sizes = rng.permutation(mean_size * (1 + UNEVENNESS * places))
    if mean_size < FEW_BATCHES * cell.batch:
        sizes = cell.batch * np.maximum(1, np.round(sizes / cell.batch))
    pool = [random_batches(cell, vocabulary, round(size), rng) for size in sizes]
    sample: list[list[list[EncodedExample]]] = []
    for adapter in pool:
        if len(sample) >= 2 and count_tokens(sample) >= cell.tokens:
            break
        sample.append(adapter)
    return Workload(pool, sample, random_batches(cell, vocabulary, WARMUP_BATCHES * cell.batch, rng))


def random_batches(cell: Cell, vocabulary: int, size: int, rng: np.random.Generator) -> list[list[EncodedExample]]:
    """`size` examples in batches; the last may be smaller."""
    from hexapla.train.encoding import EncodedExample

    mean, shortest, longest = cell.lengths
    location = math.log(mean) - SPREAD**2 / 2
    examples = []
    for number in range(size):
        length = int(np.clip(rng.lognormal(location, SPREAD), shortest, longest))
        share = np.clip(rng.normal(*PROMPT_SHARE), 0.4, 0.75)
        ids = rng.integers(2, vocabulary, length, dtype=np.int32)
        examples.append(EncodedExample(str(number), ids, round(share * length)))
    return [examples[start : start + cell.batch] for start in range(0, size, cell.batch)]


def count_tokens(adapters: list[list[list[EncodedExample]]]) -> int:
    """Tokens that go through the base, padding not counted."""
    return sum(example.num_input_tokens for adapter in adapters for batch in adapter for example in batch)


def base_config(shape: str) -> PretrainedConfig:
    """The base's configuration."""
    from transformers import Qwen3Config

    from hexapla.base import Base, load_shape

    if shape in HUB_SHAPES:
        return load_shape(Base(HUB_SHAPES[shape][0]))
    hidden, layers, head, vocabulary, _ = SMALL_SHAPES[shape]
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // head,
        num_key_value_heads=hidden // head // 2,
        head_dim=head,
        tie_word_embeddings=True,
    )


def make_base(cell: Cell, attention: str = "sdpa") -> PreTrainedModel:
    """The frozen base with random weights on its device."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = base_config(cell.shape)
    config.use_cache = False
    dtype = torch.bfloat16 if cell.dtype == "bf16" else torch.float32
    with torch.device(cell.device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    load_libraries(model.requires_grad_(False).eval())
    return model


def load_libraries(model: PreTrainedModel) -> None:
    """One step on a few tokens, so that memory which libraries take at first use counts as that of the start."""
    import torch

    ids = torch.arange(8, device=model.device)[None]
    embedded = torch.nn.Parameter(model.get_input_embeddings()(ids).float())
    model(inputs_embeds=embedded.to(model.dtype), labels=ids).loss.backward()
    torch.optim.AdamW([embedded], fused=True).step()


@dataclass
class Meter:
    """Time and memory of one side, in a process of its own.

    Args:
        cell: what is measured.
        launched: `time.monotonic` of the parent when it asked for the process.
    """

    cell: Cell
    launched: float
    tokens: int = 0
    wall_s: float = 0.0
    processor_s: float = 0.0
    startup_s: float = 0.0
    base_mib: float = 0.0
    per_adapter_startups_s: list[float] = field(default_factory=list)
    _began: tuple[float, float] = (0.0, 0.0)

    def base_ready(self) -> None:
        """Call when the base is on its device and nothing else is."""
        self._synchronise()
        self.base_mib = self.peak_mib()
        self.startup_s = time.monotonic() - self.launched

    def start(self) -> None:
        """Time counts from here."""
        self._synchronise()
        self._began = (time.perf_counter(), time.process_time())

    def stop(self, batches: list[list[EncodedExample]]) -> None:
        """Time counts to here; `batches` were trained since `start`."""
        self._synchronise()
        wall, processor = self._began
        self.wall_s += time.perf_counter() - wall
        self.processor_s += time.process_time() - processor
        self.tokens += count_tokens([batches])

    def reset(self) -> None:
        """Forget the warm-up."""
        self.tokens, self.wall_s, self.processor_s = 0, 0.0, 0.0
        self.per_adapter_startups_s.clear()

    def peak_mib(self) -> float:
        """Most memory so far: on a GPU what torch allocated there, else the process's resident size."""
        import torch

        if self.cell.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def result(self) -> dict[str, float]:
        """What the parent is told; `startup_s` is that of a process, for the Trainer with its own for an adapter."""
        startups = self.per_adapter_startups_s
        return {
            "tokens": self.tokens,
            "wall_s": self.wall_s,
            "processor_s": self.processor_s,
            "startup_s": self.startup_s + (sum(startups) / len(startups) if startups else 0.0),
            "base_mib": self.base_mib,
            "peak_mib": self.peak_mib(),
        }

    def _synchronise(self) -> None:
        if self.cell.device == "cuda":
            import torch

            torch.cuda.synchronize()


def train_spec(cell: Cell) -> Any:
    """The settings of all sides: DAT's, with alpha twice the rank."""
    from hexapla.train.spec import LoraSpec, TrainSpec

    return TrainSpec(
        lora=LoraSpec(rank=RANK, alpha=ALPHA, dropout=0.0),
        batch=cell.batch,
        precision=cell.dtype,
    )
