"""What metrics can be told: which models, in which precision, which identification of languages. Light to import."""

from __future__ import annotations

from pydantic import Field

from hexapla.common.spec import Spec
from hexapla.identification.spec import IdentificationSpec
from hexapla.neural.spec import NeuralSpec


class MetricSettings(Spec):
    """All settings of metrics."""

    neural: NeuralSpec = Field(default_factory=NeuralSpec, description="Models of the neural metrics.")
    identification: IdentificationSpec = Field(
        default_factory=IdentificationSpec, description="Identification of the languages of translations."
    )
