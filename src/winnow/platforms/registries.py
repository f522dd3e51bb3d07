"""How one logs in to the registries of the clouds: what a person types, by the registry's address.

Docker keeps the log-in, or a credential helper makes one for each push. Winnow reads neither.
"""

from __future__ import annotations

import re

_ECR = re.compile(r"(?P<account>[0-9]{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ACR = re.compile(r"(?P<name>[a-z0-9]+)(?:-[a-z0-9]+)?\.azurecr\.(?:io|cn|us)")


def login_advice(image: str) -> str:
    """What to do where a registry refused an image, as sentences.

    Args:
        image: the image's whole name, `HOST/PATH:TAG`.
    """
    host, _, path = image.partition("/")
    if match := _ECR.fullmatch(host):
        region, repository = match["region"], path.rpartition(":")[0]
        return (
            f"Log in; the token of ECR lasts twelve hours: `aws ecr get-login-password --region {region} | "
            f"docker login --username AWS --password-stdin {host}`. ECR makes no repository "
            f"by itself: `aws ecr create-repository --region {region} --repository-name {repository}`."
        )
    if match := _ACR.fullmatch(host):
        return f"Log in; the token of Azure lasts three hours: `az acr login --name {match['name']}`."
    if host.endswith(("-docker.pkg.dev", ".gcr.io")) or host == "gcr.io":
        return (
            f"Log in once: `gcloud auth login`, then `gcloud auth configure-docker {host}`. Artifact Registry makes no "
            "repository by itself: `gcloud artifacts repositories create NAME --repository-format=docker --location=…`."
        )
    return f"Log in with an account that may push there: `docker login {host}`."
