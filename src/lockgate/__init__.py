"""Lockgate: mail flow and mail protection on your own machines."""

__version__ = "0.1.0"
