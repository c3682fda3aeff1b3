"""Engine set-up and handlers shared by all runs: checkpoints, progress, curves, health checks, export."""

from tools.training.checkpoint import Checkpoint
from tools.training.clipping import GradientClipping
from tools.training.dry_run import perform_dry_run
from tools.training.finetuning import FinetuningHandlers
from tools.training.model_loader import ModelLoader
from tools.training.plan import plan_sizes
from tools.training.preparation import prepare_cases
from tools.training.protocol import TransferProtocol
from tools.training.run_folder import reserve_folders
from tools.training.schedules import build_schedule

__all__ = [
    "Checkpoint",
    "FinetuningHandlers",
    "GradientClipping",
    "ModelLoader",
    "TransferProtocol",
    "build_schedule",
    "perform_dry_run",
    "plan_sizes",
    "prepare_cases",
    "reserve_folders",
]
