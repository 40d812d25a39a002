"""The images: those that pre-training sees, and those with labels that an evaluation asks about."""

from bt_kernels.trainer.data.labelled import LabelledImages, open_labelled
from bt_kernels.trainer.data.training import open_training_data
from bt_kernels.trainer.data.views import TrainingData, Views

__all__ = ["LabelledImages", "TrainingData", "Views", "open_labelled", "open_training_data"]
