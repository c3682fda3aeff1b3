"""Export and import of encoders and networks: weights with a model card, strict loading with a report."""

from tools.transfer.card import card_settings, format_labels, match_labels, read_card
from tools.transfer.comparison import seen_cases
from tools.transfer.export import card_path, export_encoder, export_weights
from tools.transfer.hub import local_file
from tools.transfer.load import load_encoder
from tools.transfer.model import load_model
from tools.transfer.origin import read_origin
from tools.transfer.report import LoadReport

__all__ = [
    "LoadReport",
    "card_path",
    "card_settings",
    "export_encoder",
    "export_weights",
    "format_labels",
    "load_encoder",
    "load_model",
    "local_file",
    "match_labels",
    "read_card",
    "read_origin",
    "seen_cases",
]
