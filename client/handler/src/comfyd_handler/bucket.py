"""Where outputs go besides the answer: the variables of RunPod's SDK as comfyd's message. Pure.

Files come to the places where `rp_upload` of the SDK puts them: the bucket is the month (`11-26`) unless
it is named, the key begins with the job's id, and the link is good for 7 days. `rp_upload` puts the
bucket's name into the path of the endpoint; so where the endpoint's host is a bucket already, as
worker-comfyui's documentation says for AWS, the month is the first folder in it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import Failure

LINK_S = 7 * 24 * 3600
"""How long links are good for, in seconds."""

_AWS = re.compile(r"(?:(?P<bucket>.+)\.)?s3[.-](?P<region>[a-z0-9-]+)\.amazonaws\.com(?P<china>\.cn)?")
_SPACES = re.compile(r"(?:(?P<bucket>.+)\.)?(?P<region>[a-z0-9]+)\.digitaloceanspaces\.com")


@dataclass(frozen=True)
class Bucket:
    """A bucket that receives outputs."""

    url: str
    """`s3://` or `gs://`, the bucket, and a prefix for all keys. `%m-%y` in it is the month of the job."""
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)

    def message(self) -> dict[str, Any]:
        """Returns the daemon's `Delivery` (proto/src/method/run.rs)."""
        message = {
            "kind": "bucket",
            "url": self.url.replace("%m-%y", time.strftime("%m-%y")),
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "link_s": LINK_S,
        }
        return {name: value for name, value in message.items() if value is not None}


def s3(endpoint: str, key: str | None, secret: str | None, name: str | None = None) -> Bucket:
    """Makes the bucket of `BUCKET_ENDPOINT_URL` and its keys, or of a job's `s3Config`."""
    split = urlsplit(endpoint)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise Failure("the endpoint of the bucket is no https link")
    origin, region, bucket = f"{split.scheme}://{split.netloc}", None, None
    if match := _AWS.fullmatch(split.hostname) or _SPACES.fullmatch(split.hostname):
        region, bucket = match["region"], match["bucket"]
        if bucket:
            # The netloc without the bucket: what all buckets of the region have in common.
            origin = f"{split.scheme}://{split.netloc[len(bucket) + 1 :]}"
    elif ".s3." in split.hostname:
        region = split.hostname.split(".s3.")[1].split(".")[0]
    folders = [bucket, *split.path.split("/"), name or "%m-%y"]
    return Bucket(
        url="s3://" + "/".join(folder for folder in folders if folder),
        endpoint=origin,
        region=region,
        access_key_id=key,
        secret_access_key=secret,
    )


def gcs(name: str, prefix: str | None) -> Bucket:
    """Makes a bucket of Google's; the daemon has the credentials."""
    return Bucket(url="gs://" + "/".join([name.strip("/"), *filter(None, (prefix or "").split("/"))]))
