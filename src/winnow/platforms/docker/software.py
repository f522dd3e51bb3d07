"""The software that an image holds. `winnow.config.sbom` looks for it, by the image's own Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config import sbom as program
from winnow.config.errors import InputError
from winnow.platforms.docker.client import asking
from winnow.platforms.sweep import CONTAINER_PYTHON

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine


@asking("an image's software")
def sbom(engine: Engine, reference: str) -> str:
    """See `Images.sbom`. Root reads the image's files, without a network and without changing them."""
    import docker.errors

    try:
        image = engine.images.get(reference)  # `run` would pull one that is not there
    except docker.errors.ImageNotFound as error:
        raise _unreadable(reference, "none") from error
    try:
        printed: bytes = engine.containers.run(
            image,
            ["-I", "-c", Path(program.__file__).read_text(encoding="utf-8")],
            entrypoint=CONTAINER_PYTHON,
            user="0:0",
            cap_drop=["ALL"],
            cap_add=["DAC_READ_SEARCH"],
            network_mode="none",
            read_only=True,
            remove=True,
        )
    except (docker.errors.ContainerError, docker.errors.APIError) as error:
        raise _unreadable(reference, "one that does not run it") from error
    return printed.decode()


def _unreadable(reference: str, found: str) -> InputError:
    return InputError(
        f"image '{reference}'",
        expected=f"an image on the engine with {CONTAINER_PYTHON}, as `build-train` and `build-prod` make it",
        found=found,
        remedy="Build or pull it, or name another one.",
    )
