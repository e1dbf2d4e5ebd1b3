"""A published output put to use: new photos through its model, its nearest photos, its rows in other formats.

Needs what a worker needs (`fruit-features[worker]`): no TensorFlow, no engine.
"""

from engines.published.model import FittedModel, Transformed, load_model

__all__ = ["FittedModel", "Transformed", "load_model"]
