"""The version, in a module of its own: no module of the package may import `winnow` itself.

It comes from the last git tag and is read from the installed package. An image that serves holds no installed package;
its build writes the version into this file.
"""

from importlib.metadata import version

__version__ = version("winnow")
