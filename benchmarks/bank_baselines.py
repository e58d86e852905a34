"""The trainers that `bank_speed.py` measures the bank against.

Each is a function of the cell and a meter: it makes the base, says so to the meter, trains the workload's warm-up and
then its sample, one adapter after another, with the meter running from the first batch to the last update of each.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from bank_workload import ALPHA, RANK, Cell, Meter, make_base, make_workload, train_spec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from hexapla.train.encoding import EncodedExample

IGNORED = -100


def wrap(base: PreTrainedModel) -> Any:
    """peft's layers with one adapter of rank 16 on every linear layer."""
    from peft import LoraConfig, get_peft_model

    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    return get_peft_model(base, config).train()


def initialise(model: Any) -> None:
    """Make the adapter a new one."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters("default", True)


def plain_loop(cell: Cell, meter: Meter, *, packed: bool = False) -> None:
    """peft, one adapter after another, logits of all tokens, the model's own loss.

    Args:
        packed: sequences of a batch end to end without padding, instead of padded on the right.
    """
    import torch

    from hexapla.train.optimizer import learning_rate

    base = make_base(cell, cell.packed_attention if packed else "sdpa")
    meter.base_ready()
    workload, spec = make_workload(cell), train_spec(cell).optimizer
    model = wrap(base)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lay_out = lay_out_packed if packed else lay_out_padded
    for batches in [workload.warmup, *workload.sample]:
        initialise(model)
        meter.start()
        optimizer = torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        for step, batch in enumerate(batches, start=1):
            num_targets = sum(example.num_target_tokens for example in batch)
            for part in chunks(batch, cell.micro_batch):
                inputs = lay_out(part, cell.device)
                with torch.autocast(cell.device, dtype=torch.bfloat16, enabled=cell.dtype == "bf16"):
                    loss = model(**inputs, num_items_in_batch=num_targets).loss
                loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm)
            optimizer.param_groups[0]["lr"] = learning_rate(spec, step, len(batches))
            optimizer.step()
            optimizer.zero_grad()
        meter.stop(batches)
        if batches is workload.warmup:
            meter.reset()


def target_logits_loop(cell: Cell, meter: Meter) -> None:
    """Hexapla's one-by-one trainer: peft's layers, logits of target tokens, micro-batches of like lengths."""
    import torch

    from hexapla.train.reference.layers import attach
    from hexapla.train.reference.loop import Engine

    base = make_base(cell)
    meter.base_ready()
    workload, spec = make_workload(cell), train_spec(cell)
    layers = attach(base, spec.lora, gradient_checkpointing=False)
    dtype = torch.bfloat16 if cell.dtype == "bf16" else torch.float32
    engine = Engine.over(layers, spec, 0, torch.device(cell.device), dtype)
    for number, batches in enumerate([workload.warmup, *workload.sample]):
        engine.start(f"adapter-{number}")
        meter.start()
        for step, batch in enumerate(batches, start=1):
            engine.step(batch, adapter=f"adapter-{number}", step=step, num_steps=len(batches))
        meter.stop(batches)
        if batches is workload.warmup:
            meter.reset()


def trainer_loop(cell: Cell, meter: Meter) -> None:
    """HF Trainer with peft.

    People start a process for every adapter. Here one process trains several, each with a Trainer of its own, and the
    start-up of an adapter is that of the process plus what a Trainer takes before its first and after its last step.
    """
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainerCallback

    base = make_base(cell)
    meter.base_ready()
    workload = make_workload(cell)
    model = wrap(base)

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.start()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            meter.stop(batches)

    with tempfile.TemporaryDirectory() as folder:
        for batches in [workload.warmup, *workload.sample]:
            initialise(model)
            begun, before_s = time.perf_counter(), meter.wall_s
            trainer = Trainer(
                model,
                trainer_arguments(cell, folder),
                DataCollatorForSeq2Seq(padding_tokenizer(), label_pad_token_id=IGNORED),
                train_dataset=[as_features(example) for batch in batches for example in batch],
                callbacks=[Clock],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            meter.per_adapter_startups_s.append(time.perf_counter() - begun - (meter.wall_s - before_s))
            if batches is workload.warmup:
                meter.reset()


def trainer_arguments(cell: Cell, folder: str) -> Any:
    """The Trainer's settings: ours where results depend on them, its own defaults where only speed does."""
    from transformers import TrainingArguments

    spec = train_spec(cell).optimizer
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=cell.micro_batch,
        gradient_accumulation_steps=math.ceil(cell.batch / cell.micro_batch),
        num_train_epochs=1,
        learning_rate=spec.lr,
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        lr_scheduler_type="inverse_sqrt",
        warmup_steps=spec.warmup,
        train_sampling_strategy="sequential",
        bf16=cell.dtype == "bf16",
        use_cpu=cell.device == "cpu",
        save_strategy="no",
        disable_tqdm=True,
    )


def padding_tokenizer() -> Any:
    """A tokenizer that can pad, which is all that the Trainer's collator asks of it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0})), pad_token="<pad>")


def as_features(example: EncodedExample) -> dict[str, list[int]]:
    """An example as the Trainer takes it: the loss is on the target only."""
    ids = example.ids.tolist()
    prompt = example.num_prompt_tokens
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORED] * prompt + ids[prompt:]}


def chunks(batch: list[EncodedExample], size: int) -> Iterator[list[EncodedExample]]:
    """The batch in parts of at most `size`."""
    for start in range(0, len(batch), size):
        yield batch[start : start + size]


def lay_out_padded(examples: list[EncodedExample], device: str) -> dict[str, torch.Tensor]:
    """Ids, mask and labels [sequences, tokens of the longest], padded on the right."""
    import torch

    shape = (len(examples), max(len(example.ids) for example in examples))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    for row, example in enumerate(examples):
        length, prompt = len(example.ids), example.num_prompt_tokens
        ids[row, :length], mask[row, :length] = example.ids, 1
        labels[row, prompt:length] = example.ids[prompt:]
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def lay_out_packed(examples: list[EncodedExample], device: str) -> dict[str, torch.Tensor]:
    """Ids, positions and labels [1, tokens of all]; positions that start again tell transformers where one ends."""
    import torch

    features = [as_features(example) for example in examples]
    columns = {
        "input_ids": [token for feature in features for token in feature["input_ids"]],
        "position_ids": [position for feature in features for position in range(len(feature["input_ids"]))],
        "labels": [label for feature in features for label in feature["labels"]],
    }
    return {name: torch.tensor([column], device=device) for name, column in columns.items()}
