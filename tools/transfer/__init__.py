"""Encoders and networks written with their contract, and loaded with a report."""

from tools.transfer.card import card_settings, match_labels, read_card, spell_labels
from tools.transfer.export import contract_path, export_encoder, export_weights
from tools.transfer.load import load_encoder, seen_cases
from tools.transfer.model import load_model
from tools.transfer.report import LoadReport

__all__ = [
    "LoadReport",
    "card_settings",
    "contract_path",
    "export_encoder",
    "export_weights",
    "load_encoder",
    "load_model",
    "match_labels",
    "read_card",
    "seen_cases",
    "spell_labels",
]
