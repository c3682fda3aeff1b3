"""Ignite handlers: they watch a run, write its files, and never touch the data."""

from tools.handlers.binary import BinaryReport, BinaryWriter, RocPicture
from tools.handlers.case_pictures import BestAndWorst
from tools.handlers.checkpoint import Checkpoint
from tools.handlers.clipping import ClipGradients
from tools.handlers.detection import DetectionReport, DetectionWriter
from tools.handlers.detection_pictures import LesionPicture
from tools.handlers.embeddings import EmbeddingWriter
from tools.handlers.evaluation import EvaluationHandlers
from tools.handlers.finetuning import FinetuningHandlers
from tools.handlers.grading import ConfusionPicture, GradingReport, GradingWriter
from tools.handlers.model import ModelLoader
from tools.handlers.pretraining import PretrainingHandlers
from tools.handlers.probe import LinearProbe
from tools.handlers.protocol import TransferProtocol
from tools.handlers.segmentation import SegmentationReport, SegmentationWriter

__all__ = [
    "BestAndWorst",
    "BinaryReport",
    "BinaryWriter",
    "Checkpoint",
    "ClipGradients",
    "ConfusionPicture",
    "DetectionReport",
    "DetectionWriter",
    "EmbeddingWriter",
    "EvaluationHandlers",
    "FinetuningHandlers",
    "GradingReport",
    "GradingWriter",
    "LesionPicture",
    "LinearProbe",
    "ModelLoader",
    "PretrainingHandlers",
    "RocPicture",
    "SegmentationReport",
    "SegmentationWriter",
    "TransferProtocol",
]
