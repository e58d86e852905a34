"""The registry of metrics. Importing it is light: sacreBLEU comes in when a metric is made."""

from __future__ import annotations

from hexapla.common.errors import UserError, nearest
from hexapla.evaluate.failures.copied import Copied
from hexapla.evaluate.failures.empty import Empty
from hexapla.evaluate.failures.looping import Looping
from hexapla.evaluate.failures.lost_items import LostItems
from hexapla.evaluate.failures.off_target import OffTarget
from hexapla.evaluate.failures.over_long import OverLong
from hexapla.evaluate.failures.related import Related
from hexapla.evaluate.failures.wrong_script import WrongScript
from hexapla.evaluate.metrics.bleu import Bleu
from hexapla.evaluate.metrics.chrf import Chrf, ChrfPlusPlus
from hexapla.evaluate.metrics.comet import Comet22, CometKiwi22, XcometXl, XcometXxl
from hexapla.evaluate.metrics.metric import Metric, Segments
from hexapla.evaluate.metrics.settings import MetricSettings
from hexapla.evaluate.metrics.spbleu import SpBleu
from hexapla.evaluate.metrics.ter import Ter

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "chrf++": ChrfPlusPlus,
    "ter": Ter,
    "spbleu": SpBleu,
    "comet22": Comet22,
    "cometkiwi22": CometKiwi22,
    "xcomet-xl": XcometXl,
    "xcomet-xxl": XcometXxl,
    "empty": Empty,
    "copied": Copied,
    "off-target": OffTarget,
    "related": Related,
    "wrong-script": WrongScript,
    "over-long": OverLong,
    "looping": Looping,
    "lost-items": LostItems,
}
# Measured beside every figure of quality, wherever they can be.
FAILURES: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.is_failure)


def make_metric(name: str, target: str, settings: MetricSettings | None = None) -> Metric:
    """The metric called `name` for translations into the language with code `target`.

    Args:
        settings: None: the defaults.

    Raises:
        UserError: there is no such metric, or it needs a package, a model or a file that is missing.
    """
    if name not in METRICS:
        raise UserError(f"There is no metric {name!r}.", hint=nearest(name, METRICS))
    return METRICS[name](target, settings if settings is not None else MetricSettings())


__all__ = ["FAILURES", "METRICS", "Metric", "MetricSettings", "Segments", "make_metric"]
