"""What a person types to log in to a registry."""

import pytest

from winnow.platforms.registries import login_advice


@pytest.mark.parametrize(
    ("image", "commands"),
    [
        (
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/acme/winnow-train:1f",
            (
                "`aws ecr get-login-password --region eu-central-1 | docker login --username AWS --password-stdin "
                "123456789012.dkr.ecr.eu-central-1.amazonaws.com`",
                "`aws ecr create-repository --region eu-central-1 --repository-name acme/winnow-train`",
            ),
        ),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/winnow-train:1f",
            ("--region cn-north-1 ", "--repository-name winnow-train`"),
        ),
        ("europe-west3-docker.pkg.dev/acme/ml/winnow-train:1f", ("configure-docker europe-west3-docker.pkg.dev`",)),
        ("eu.gcr.io/acme/winnow-train:1f", ("`gcloud auth configure-docker eu.gcr.io`",)),
        ("acme.azurecr.io/ml/winnow-train:1f", ("`az acr login --name acme`",)),
        ("localhost:5000/winnow-train:1f", ("`docker login localhost:5000`",)),
        ("azurecr.io.example.com/winnow-train:1f", ("`docker login azurecr.io.example.com`",)),
    ],
)
def test_a_registry_s_own_command_is_named(image: str, commands: tuple[str, ...]) -> None:
    advice = login_advice(image)
    assert [each for each in commands if each not in advice] == []
