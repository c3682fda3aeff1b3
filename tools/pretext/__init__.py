"""Pretext tasks for self-supervised pretraining: modules shared by all methods, and one package per method.

A new method is a subclass of `PretextTask` with its network and loss in ``tools/pretext/<method>/``, and a
`tools.bundles.pretext_method.Method` in ``tools/bundles/collection/<method>3d.py``, which also describes its own keys.
"""

from tools.pretext.accuracy import Top1Accuracy, top1_correct
from tools.pretext.classification import ClassificationTask
from tools.pretext.embeddings import EmbeddingWriter
from tools.pretext.evaluation import EvaluationHandlers
from tools.pretext.loss import MaskedCrossEntropy
from tools.pretext.patch_embedder import PatchEmbedder
from tools.pretext.pretraining import PretrainingHandlers
from tools.pretext.task import PretextTask

__all__ = [
    "ClassificationTask",
    "EmbeddingWriter",
    "EvaluationHandlers",
    "MaskedCrossEntropy",
    "PatchEmbedder",
    "PretextTask",
    "PretrainingHandlers",
    "Top1Accuracy",
    "top1_correct",
]
