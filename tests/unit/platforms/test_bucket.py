"""The bucket for artifacts."""

from typing import Any

from winnow.platforms.bucket import make_bucket


class S3:
    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def list_buckets(self) -> dict[str, Any]:
        return {"Buckets": [{"Name": name} for name in self.names]}

    def create_bucket(self, Bucket: str) -> None:
        self.names.append(Bucket)


def test_it_is_made_once() -> None:
    s3 = S3("other")
    assert make_bucket(s3, "mlflow") == "bucket mlflow was made"
    assert make_bucket(s3, "mlflow") == "bucket mlflow is there"
    assert s3.names == ["other", "mlflow"]
