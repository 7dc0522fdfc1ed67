"""Figures and the report's exporters."""
