"""Opens the artifact store that MLflow's server is about to use, as the server will.

A program of the server's own image, which has MLflow and not this package. The server itself would start without its
bucket, and fail only at the first upload.
"""

from __future__ import annotations

import os
import sys

NO_PACKAGE = 3
"""Exit status where the image lacks the store's package; 1 where the store cannot be opened."""


def check(address: str) -> tuple[int, str]:
    """Exit status and a sentence for an artifact store's address."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        get_artifact_repository(address).list_artifacts()
    except ImportError as error:
        return NO_PACKAGE, f"the package {error.name or error} is not in MLflow's image"
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        first = (str(error).strip() or "no message").splitlines()[0]
        return 1, f"{type(error).__name__}: {first}"
    return 0, f"{address} can be opened"


if __name__ == "__main__":
    status, sentence = check(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    print(sentence)
    sys.exit(status)
