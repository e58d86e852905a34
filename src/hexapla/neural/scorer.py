"""Scores of translations by COMET's models: `load_scorer(...).score(sources, hypotheses, references)`.

The same scores as unbabel-comet's `predict` in fp32 (the tests hold them to 1e-5), for less work: every distinct
sentence (regression metrics) or pair (unified metrics) is encoded once, in batches of similar length, and remembered
across calls, for a multi-way test set repeats its sentences in every direction and for every system.

Shapes: N sequences, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from hexapla.base import choose_device, choose_dtype
from hexapla.common.errors import UserError
from hexapla.neural.batches import batches, computed, default_batch_tokens, num_workers
from hexapla.neural.checkpoint import Checkpoint, Hyperparameters, Tensors, find_checkpoint, read_tensors
from hexapla.neural.spans import ErrorSpan
from hexapla.neural.tokenizer import EncoderFiles, Tokenizer, find_encoder_files

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hexapla.neural.encoder import EncodedBatch

# Segments taken at a time: what a call holds at once stays bounded however many there are.
_BLOCK = 16_384
# Sentences remembered: 512 MiB at the width of XLM-R-large.
_REMEMBERED_SENTENCES = 131_072
_REMEMBERED_SEGMENTS = 1_048_576

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")
_Kept = TypeVar("_Kept")


class Scorer(ABC):
    """A model of COMET's, ready to score.

    Attributes:
        needs_references: whether there are no scores without references.
        num_encoded: sequences encoded so far; repeated ones were not.
    """

    needs_references: bool

    def __init__(
        self,
        checkpoint: Checkpoint,
        files: EncoderFiles,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_tokens: int | None,
    ) -> None:
        from hexapla.neural.encoder import Encoder
        from hexapla.neural.head import LayerPooling, Regression

        hyperparameters = checkpoint.hyperparameters
        tensors = read_tensors(checkpoint)
        self._device, self._batch_tokens = device, batch_tokens or default_batch_tokens(device)
        self._encoder = Encoder(
            tensors, files.configuration(), normalises_first=hyperparameters.encoder_model == "XLM-RoBERTa-XL"
        )
        self._tokenizer = Tokenizer(files.tokenizer, self._encoder.num_positions)
        if self._tokenizer.size > self._encoder.vocabulary:
            raise UserError(
                f"The tokenizer has {self._tokenizer.size} ids, the encoder {self._encoder.vocabulary}: it is another "
                "encoder's.",
                where=str(files.tokenizer),
                hint="Set neural.tokenizer to the encoder that hparams.yaml names.",
            )
        self._pool = LayerPooling(tensors, hyperparameters, self._encoder.depth + 1)
        depth = max(self._pool.depth, self._prepare(tensors, hyperparameters))
        self._encoder.load(depth, device=device, dtype=dtype)
        num_features = self._encoder.width * (6 if hyperparameters.is_regression else 1)
        self._regression = Regression(tensors, hyperparameters, num_features, device=device)
        tensors.finish(*self._encoder.unused())
        self.num_encoded = 0

    def score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None = None
    ) -> list[float]:
        """A score per segment, of good translations about 1, of bad ones about 0; neither is a bound.

        Args:
            sources, hypotheses, references: the texts of one segment at one position.

        Raises:
            UserError: the model cannot do without references, and there are none.
            ValueError: the lists are of different lengths.
        """
        import torch

        with torch.inference_mode():
            blocks = self._blocks(sources, hypotheses, references)
            return [score for block in blocks for score in self._score(*block)]

    def _blocks(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None
    ) -> Iterator[tuple[Sequence[str], Sequence[str], Sequence[str] | None]]:
        """The texts a block at a time, as `score` is given them and with its errors."""
        if references is None and self.needs_references:
            raise UserError("This model scores against references, and there are none.")
        if {len(sources), len(hypotheses), len(hypotheses if references is None else references)} != {len(hypotheses)}:
            raise ValueError("lists of different lengths")
        for start in range(0, len(hypotheses), _BLOCK):
            block = slice(start, start + _BLOCK)
            yield sources[block], hypotheses[block], None if references is None else references[block]

    def _prepare(self, tensors: Tensors, hyperparameters: Hyperparameters) -> int:
        """Take what else of the tensors is needed; the result is the highest layer needed for it."""
        return 0

    @abstractmethod
    def _score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None
    ) -> list[float]:
        """Scores of a block."""

    def _embed(self, rows: Sequence[list[int]]) -> Tensor:
        """Pooled vectors of sequences of token ids: [N, D], in fp32, where the model is."""
        import torch

        vectors_ND = torch.empty(len(rows), self._encoder.width, device=self._device)
        for batch, vectors_BD in self._encode_rows(rows, self._pool):
            vectors_ND[torch.tensor(batch, device=self._device)] = vectors_BD
        return vectors_ND

    def _encode_rows(
        self, rows: Sequence[list[int]], keep: Callable[[EncodedBatch], _Kept]
    ) -> Iterator[tuple[list[int], _Kept]]:
        """Per batch: the numbers of its sequences, and what `keep` makes of them after the encoder."""
        import torch

        def encode(batch: list[int]) -> _Kept:
            with torch.inference_mode():  # holds for one thread
                return keep(self._encoder.states([rows[number] for number in batch]))

        self.num_encoded += len(rows)
        workers = num_workers(self._device)
        return computed(encode, batches([len(row) for row in rows], self._batch_tokens, workers), workers)


class RegressionScorer(Scorer):
    """COMET-22 and its like: source, hypothesis and reference are encoded one by one, and their vectors compared."""

    needs_references = True

    def __init__(self, checkpoint: Checkpoint, files: EncoderFiles, **placement: Any) -> None:
        super().__init__(checkpoint, files, **placement)
        self._sentences: Recent[str, Tensor] = Recent(_REMEMBERED_SENTENCES)

    def _score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None
    ) -> list[float]:
        import torch

        assert references is not None
        texts = list(dict.fromkeys([*sources, *hypotheses, *references]))
        vectors_ND = torch.stack(self._sentences.get_all(texts, self._encode))
        place = {text: number for number, text in enumerate(texts)}
        scores: list[float] = []
        for start in range(0, len(hypotheses), 1024):
            source, hypothesis, reference = (
                vectors_ND[torch.tensor([place[text] for text in side[start : start + 1024]], device=self._device)]
                for side in (sources, hypotheses, references)
            )
            features = (
                hypothesis,
                reference,
                hypothesis * reference,
                (hypothesis - reference).abs(),
                hypothesis * source,
                (hypothesis - source).abs(),
            )
            scores += self._regression(torch.cat(features, dim=1)).tolist()
        return scores

    def _encode(self, texts: Sequence[str]) -> list[Tensor]:
        # clones: a view would keep the vectors of all the others alive
        return [vector.clone() for vector in self._embed(self._tokenizer.encode(texts))]


class Judgement(NamedTuple):
    """What a unified metric finds of a segment.

    Attributes:
        errors: in the hypothesis; none where the model does not look for any.
    """

    score: float
    errors: tuple[ErrorSpan, ...] = ()


class UnifiedScorer(Scorer):
    """CometKiwi-22 and its like: hypothesis and source (or reference) are encoded as one sequence.

    With both, unbabel-comet averages three passes: with the source, with the reference, and with both.
    """

    def __init__(self, checkpoint: Checkpoint, files: EncoderFiles, **placement: Any) -> None:
        super().__init__(checkpoint, files, **placement)
        self._segments = checkpoint.hyperparameters.input_segments
        self.needs_references = "src" not in self._segments
        self._judgements: Recent[tuple[str, ...], Judgement] = Recent(_REMEMBERED_SEGMENTS)

    def _score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None
    ) -> list[float]:
        return [judgement.score for judgement in self._judge(sources, hypotheses, references)]

    def _judge(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str] | None
    ) -> list[Judgement]:
        sides = {"src": sources, "ref": references}
        given = [side for name in ("src", "ref") if name in self._segments and (side := sides[name]) is not None]
        segments = list(zip(hypotheses, *given, strict=True))
        distinct = list(dict.fromkeys(segments))
        found = dict(zip(distinct, self._judgements.get_all(distinct, self._compute), strict=True))
        return [found[segment] for segment in segments]

    def _compute(self, segments: Sequence[tuple[str, ...]]) -> list[Judgement]:
        """Judgements of distinct segments: hypothesis, then source, reference, or both."""
        scores = self._regression(self._embed(self._passes(segments)))
        return [Judgement(score) for score in scores.view(len(segments), -1).mean(1).tolist()]

    def _passes(self, segments: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """Token ids of what is encoded for each segment: one sequence, or, with source and reference, three."""
        texts = list(dict.fromkeys(text for segment in segments for text in segment))
        ids = dict(zip(texts, self._tokenizer.encode(texts), strict=True))
        rows = []
        for hypothesis, *others in segments:
            passes = [[other] for other in others] + ([others] if len(others) == 2 else [])
            rows += [self._tokenizer.join([ids[text] for text in (hypothesis, *side)]) for side in passes]
        return rows


class Recent(Generic[_Key, _Value]):
    """Values by key, of which the least recently used are forgotten.

    Args:
        capacity: how many are remembered between calls.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def get_all(self, keys: Sequence[_Key], compute: Callable[[Sequence[_Key]], Sequence[_Value]]) -> list[_Value]:
        """The values of distinct keys; those that are not remembered are computed at once."""
        missing = [key for key in keys if key not in self._values]
        computed = dict(zip(missing, compute(missing), strict=True)) if missing else {}
        found = [computed[key] if key in computed else self._values[key] for key in keys]
        for key, value in zip(keys, found, strict=True):
            self._values[key] = value
            self._values.move_to_end(key)
        while len(self._values) > self._capacity:
            self._values.popitem(last=False)
        return found


def load_scorer(
    source: str,
    *,
    tokenizer: str | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: torch.device | str | None = None,
    batch_tokens: int | None = None,
) -> Scorer:
    """The model of a checkpoint, with its weights.

    Args:
        source: a local folder with `hparams.yaml` and `checkpoints/model.ckpt` (or `model.safetensors`), or a hub id
            (`OWNER/NAME`, `OWNER/NAME@REVISION`).
        tokenizer: folder or hub id of the encoder's tokenizer; None: beside the checkpoint, or what it names.
        precision: of the encoder; auto: bf16 on a GPU that has it. What comes after the encoder is always fp32.
        device: None: the first GPU, or else the CPU.
        batch_tokens: tokens a batch, about; None: as suits the device.

    Raises:
        UserError: files are missing, damaged, of another kind, or would run code; the message says which and what to
            do.
    """
    checkpoint = find_checkpoint(source)
    return make_scorer(
        checkpoint,
        find_encoder_files(checkpoint, tokenizer),
        precision=precision,
        device=choose_device(device),
        batch_tokens=batch_tokens,
    )


def make_scorer(
    checkpoint: Checkpoint,
    files: EncoderFiles,
    *,
    precision: Literal["auto", "fp32", "bf16"],
    device: torch.device,
    batch_tokens: int | None,
) -> Scorer:
    """As `load_scorer`, of a checkpoint and encoder files that were found before."""
    from hexapla.neural.xcomet import XcometScorer

    scorers: dict[str, Callable[..., Scorer]] = {
        "regression_metric": RegressionScorer,
        "unified_metric": UnifiedScorer,
        "xcomet_metric": XcometScorer,
    }
    dtype = choose_dtype(precision, device)
    return scorers[checkpoint.hyperparameters.class_identifier](
        checkpoint, files, dtype=dtype, device=device, batch_tokens=batch_tokens
    )
