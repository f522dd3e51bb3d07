"""The version, in its own module because no module of the package may import `winnow` itself.

It is that of the installed package, which takes it from the last git tag. The image that serves has no installed
package; its build writes the version into this file.
"""

from importlib.metadata import version

__version__ = version("winnow")
