"""The version, in a module of its own: no module of the package may import `winnow` itself."""

__version__ = "0.1.0"
