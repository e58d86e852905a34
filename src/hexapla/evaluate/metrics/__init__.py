"""The registry of metrics. Importing it is light: sacreBLEU comes in when a metric is made."""

from __future__ import annotations

from hexapla.common.errors import UserError, nearest
from hexapla.evaluate.metrics.bleu import Bleu
from hexapla.evaluate.metrics.chrf import Chrf, ChrfPlusPlus
from hexapla.evaluate.metrics.metric import Metric
from hexapla.evaluate.metrics.spbleu import SpBleu
from hexapla.evaluate.metrics.ter import Ter

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "chrf++": ChrfPlusPlus,
    "ter": Ter,
    "spbleu": SpBleu,
}


def make_metric(name: str, target: str) -> Metric:
    """The metric called `name` for translations into the language with code `target`.

    Raises:
        UserError: there is no such metric, or it needs a package or a file that is missing.
    """
    if name not in METRICS:
        raise UserError(f"There is no metric {name!r}.", hint=nearest(name, METRICS))
    return METRICS[name](target)


__all__ = ["METRICS", "Metric", "make_metric"]
