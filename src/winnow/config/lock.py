"""The packages that requirements.lock pins, with what they say about their licences where they are installed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from winnow.config.reference import markdown_table
from winnow.config.sbom import Component, licenses_of, python_package

LOCK = "requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
_NONE = "not stated"


@dataclass(frozen=True)
class Locked:
    """One package.

    Attributes:
        about: its metadata; None where it is not installed.
    """

    name: str
    version: str
    about: metadata.PackageMetadata | None = None

    @property
    def licenses(self) -> str:
        """As the package words them; empty where it states none or is not installed."""
        return "; ".join(licenses_of(self.about)) if self.about is not None else ""

    @property
    def component(self) -> Component:
        """The package in a CycloneDX document."""
        return python_package(self.name, self.version, self.about)


def locked(text: str) -> list[Locked]:
    """The packages of a lock, in its order."""
    return [Locked(name, version, _installed(name)) for name, version in _PIN.findall(text)]


def licenses_page(packages: Sequence[Locked]) -> str:
    """How many packages have which licence, and the licence of each, in Markdown."""
    counted = Counter(each.licenses or _NONE for each in packages)
    shares = [(name, str(count)) for name, count in sorted(counted.items(), key=lambda each: (-each[1], each[0]))]
    rows = [(each.name, each.version, each.licenses or _NONE, _address(each)) for each in packages]
    return "\n\n".join(
        (
            markdown_table(("licence, as the package words it", "packages"), shares),
            markdown_table(("package", "version", "licence", "address"), rows),
        )
    )


def _installed(name: str) -> metadata.PackageMetadata | None:
    try:
        return metadata.distribution(name).metadata
    except metadata.PackageNotFoundError:
        return None


def _address(package: Locked) -> str:
    """Where the package says that it lives: its page, else its source."""
    if package.about is None:
        return ""
    named = [each.partition(", ")[::2] for each in package.about.get_all("Project-URL") or ()]
    by_label = {label.lower(): address for label, address in named}
    known = [by_label[each] for each in ("homepage", "repository", "source", "source code") if each in by_label]
    return next(iter([*(package.about.get_all("Home-page") or ()), *known, *by_label.values()]), "")
