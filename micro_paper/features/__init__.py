"""From texts to feature rows; what a user needs first is how features are taken."""

from micro_paper.features.settings import FeatureSettings

__all__ = ["FeatureSettings"]
