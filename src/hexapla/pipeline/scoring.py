"""Measure pools: translate what was never translated before, score, and find finished scores again by their key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexapla.common.artifacts import digest_of
from hexapla.data.rows import Row
from hexapla.evaluate.scores import ScoreTable
from hexapla.evaluate.spec import EvaluateSpec
from hexapla.evaluate.stage import Wanted, evaluate_pool, signatures
from hexapla.pipeline.workspace import Workspace
from hexapla.pool import AdapterEntry, Pool, PoolDescription
from hexapla.translate.spec import TranslateSpec

if TYPE_CHECKING:
    from hexapla.translate.translator import Translation, Translator


@dataclass(frozen=True)
class Measurement:
    """What is measured on every pool, and how.

    Attributes:
        seed: chooses the rows where the spec has a limit.
    """

    tests: Mapping[str, Sequence[Row]]
    spec: EvaluateSpec
    decoding: TranslateSpec
    seed: int

    def of(self, pool: Pool, workspace: Workspace, translator: Callable[[], Translator]) -> ScoreTable:
        """The scores of a pool on its own directions.

        Args:
            translator: makes the pool's translator; called only if a translation is missing.

        Raises:
            UserError: no test set has rows in its directions, or a metric cannot be computed.
        """
        name = pool.description.name
        identity = {"pool": translation_digest(pool.description, pool.adapters), "translate": self.decoding.resolved()}

        def translate(requests: list[Wanted]) -> Iterator[tuple[int, Translation]]:
            from hexapla.translate.translator import Request

            return translator().translate_requests(Request(*request) for request in requests)

        def build(aside: Path, _: Path) -> None:
            evaluate_pool(
                pool_name=name,
                tests=self.tests,
                layout=pool.description.layout,
                spec=self.spec,
                translate=translate,
                folder=aside,
                translations=workspace.translations(identity),
                identity=identity,
                seed=self.seed,
                auxiliaries=pool.description.auxiliaries if self.decoding.pmp == "given" else None,
            )

        key = {**identity, **self._key, "signatures": signatures(self.spec, pool.description.layout)}
        folder = workspace.make("scores", name, key, build)
        workspace.link("scores", name, folder)
        return ScoreTable.load(folder)

    @cached_property
    def _key(self) -> dict[str, Any]:
        evaluate = self.spec.resolved()
        del evaluate["baseline"]  # decides whether the base has scores at all, not what they are
        tests = {name: digest_of([row.to_record() for row in rows]) for name, rows in self.tests.items()}
        return {"tests": tests, "evaluate": evaluate, "seed": self.seed}


def translation_digest(described: PoolDescription, adapters: Mapping[str, AdapterEntry]) -> str:
    """sha256 of what a pool's translations depend on; `Pool.digest` also covers its provenance."""
    depends: dict[str, Any] = {
        "base": described.base_fingerprint,
        "template": described.template_hash,
        "routes": {str(direction): route for direction, route in described.routes.items()},
        "adapters": {name: [each.weights_digest, each.config_digest] for name, each in adapters.items()},
    }
    if described.auxiliaries:
        depends["auxiliaries"] = {str(direction): code for direction, code in described.auxiliaries.items()}
    return digest_of(depends)
