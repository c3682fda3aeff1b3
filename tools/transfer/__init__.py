"""Encoders written with their contract, and loaded with a report."""

from tools.transfer.export import contract_path, export_encoder
from tools.transfer.load import load_encoder
from tools.transfer.report import LoadReport

__all__ = ["LoadReport", "contract_path", "export_encoder", "load_encoder"]
