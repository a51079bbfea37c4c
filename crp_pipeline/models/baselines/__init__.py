"""What a model must beat before anybody looks at it: it knows no feature, one, or a straight line in all."""

from crp_pipeline.models.baselines.logistic import Logistic, LogisticParams
from crp_pipeline.models.baselines.persistence import Persistence, PersistenceParams
from crp_pipeline.models.baselines.prior import Prior

__all__ = ["Logistic", "LogisticParams", "Persistence", "PersistenceParams", "Prior"]
