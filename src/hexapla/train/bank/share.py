"""What one process trains: the waves of a share, one after another, over its own copy of the base."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hexapla.base import Base, load_model
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.common.progress import EventLog
from hexapla.train.bank.joint import ToldTable
from hexapla.train.bank.life import AdapterLife
from hexapla.train.bank.model import BankedModel
from hexapla.train.bank.table import LiveTable, Table
from hexapla.train.bank.wave import FinishedAdapter, Wave, WaveSettings
from hexapla.train.bank.waves import BankSettings, PlannedWave
from hexapla.train.bank.workers import Link
from hexapla.train.lora import settings_of
from hexapla.train.result import write_result
from hexapla.train.spec import TrainSpec
from hexapla.train.stage import Deliver, Translate, aligned_layer
from hexapla.train.task import PreparedTask

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Share:
    """Waves for one process, and all that it needs for them; can be pickled.

    Attributes:
        name: of the share and of its folder in `work`.
        waves: with their tasks, in the order of their rows.
        finished: adapters that are not to be delivered again.
    """

    name: str
    base: Base
    spec: TrainSpec
    seed: int
    template_name: str
    settings: BankSettings
    waves: Sequence[tuple[PlannedWave, Sequence[PreparedTask]]]
    finished: frozenset[str]
    work: Path
    translate: Translate | None


def train_share(
    share: Share,
    model: BankedModel,
    deliver: Deliver,
    log: EventLog,
    table: Callable[[Sequence[AdapterLife]], Table] = LiveTable,
) -> None:
    """Train the waves; the folder of each is removed when all of it is delivered.

    Args:
        table: what shows the progress of a wave's adapters.

    Raises:
        UserError: memory does not suffice after all, or a checkpoint cannot be read.
    """
    import torch

    delivered = set(share.finished)

    def hand_out(ended: FinishedAdapter) -> None:
        def fill(folder: Path) -> None:
            write_result(
                folder,
                ended.adapter,
                ended.result,
                ended.records,
                ended.task,
                seed=share.seed,
                template_name=share.template_name,
            )

        if ended.task.name not in delivered:
            deliver(ended.task.name, fill)
            delivered.add(ended.task.name)

    settings = WaveSettings(
        spec=share.spec,
        seed=share.seed,
        lora_settings=lambda own: settings_of(model.paths, share.base.id, own.lora),
        micro_batch_tokens=share.settings.micro_batch_tokens,
        precision=share.settings.dtype,
        translate=share.translate,
        table=table,
    )
    for wave, tasks in share.waves:
        folder = share.work / wave.folder
        run = digest_of([[task.digest for task in tasks], asdict(share.settings)])
        try:
            Wave(model, tasks, settings, work=folder, run=run, log=log).run(hand_out)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"Memory does not suffice for {len(tasks)} adapters with {settings.micro_batch_tokens} tokens at once.",
                where="train.micro_batch_tokens",
                hint="Lower it, set train.bank.adapters_at_once lower, or train.gradient_checkpointing: true, and "
                f"delete {share.work}, which holds this plan; what is finished stays.",
            ) from error
        shutil.rmtree(folder, ignore_errors=True)


def train_share_apart(link: Link, place: int, share: Share, device: torch.device, /) -> None:
    """The same in a process of its own, on the GPU whose number is the process's place."""
    import torch

    own = torch.device("cuda", place) if device.type == "cuda" else device
    if own.type == "cuda":
        torch.cuda.set_device(own)
    model = load_banked(share.base, share.spec, share.settings.dtype, own)
    train_share(share, model, link.deliver, link.log, partial(ToldTable, link))


def load_banked(base: Base, spec: TrainSpec, dtype: str, device: torch.device) -> BankedModel:
    """The base, ready to take a bank.

    Args:
        dtype: as torch names it.

    Raises:
        UserError: the base cannot be loaded, lacks the layers, or is one that the bank does not know.
    """
    import torch

    model = load_model(base, dtype=getattr(torch, dtype), device=device, quantization=spec.quantization)
    return BankedModel(
        model,
        spec.lora.targets,
        gradient_checkpointing=spec.gradient_checkpointing,
        aligned_layer=aligned_layer(spec, model.config),
    )
