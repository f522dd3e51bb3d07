"""Make versions of data by DVC."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.orchestrators.dvc import DataVersion


def data_version(input: Path | str, *, commit: bool = False, say: Callable[[str], None] = silent) -> DataVersion:
    """Make a version of a file or folder: DVC tracks it as it is, and copies it to its default remote.

    Experiments name it by `data: {source: "dvc:PATH"}`. The file `PATH.dvc`, which says which content it is, belongs in
    Git. Content that has not changed makes no new version.

    Args:
        input: the file or folder, in a DVC project in a Git repository.
        commit: also commit `PATH.dvc`, `.gitignore` beside it and the files of the DVC project itself; nothing else.

    Raises:
        InputError: DVC is not installed (`install_tool`), there is no such path, DVC project, Git repository or remote;
            the remote does not answer or lets this user not in; or DVC refuses the path.
        WinnowError: Git refuses the commit.
    """
    from winnow.config.settings import home_folder
    from winnow.orchestrators.dvc import make_data_version

    return make_data_version(Path(input), home_folder(os.environ), commit=commit, say=say)
