"""Makes the bucket for artifacts; harmless where it is there already.

A program of the container `bucket`, which has boto3 and not this package: `BUCKET` and boto3's own variables tell it
what to make and where.
"""

from __future__ import annotations

import os
from typing import Any


def make_bucket(client: Any, name: str) -> str:
    """Make `name` with a boto3 S3 `client` unless it is ours already; return what was done, as a sentence."""
    buckets = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    if name in buckets:
        return f"bucket {name} is there"
    client.create_bucket(Bucket=name)
    return f"bucket {name} was made"


if __name__ == "__main__":
    import boto3

    print(make_bucket(boto3.client("s3"), os.environ["BUCKET"]))
