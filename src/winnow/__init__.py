"""winnow: sweep, select and serve PyTorch models."""

__version__ = "0.1.0"
