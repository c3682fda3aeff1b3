"""Ignite handlers: they watch a run, write its files, and never touch the data."""

from tools.handlers.checkpoint import Checkpoint
from tools.handlers.embeddings import EmbeddingWriter
from tools.handlers.evaluation import EvaluationHandlers
from tools.handlers.pretraining import PretrainingHandlers
from tools.handlers.protocol import TransferProtocol

__all__ = ["Checkpoint", "EmbeddingWriter", "EvaluationHandlers", "PretrainingHandlers", "TransferProtocol"]
