"""The version, apart from the package's front door, which offers everything and so may be imported by nothing in it."""

__version__ = "0.1.0"
