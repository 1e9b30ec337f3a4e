"""The ensemble on a GPU or any other torch device: batches, lists and relaxation stay there."""

from potentials.device.inflight import relax
from potentials.device.memory import batch_size
from potentials.device.prediction import predict
from potentials.device.setup import Setup

__all__ = ["Setup", "batch_size", "predict", "relax"]
