"""A local S3 server, moto's, for the time of a test: a free port of the loopback, an empty bucket, variables that lead there."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

BUCKET, KEY, SECRET = "crp-artifacts", "AKIATESTTESTTEST", "s3cret/hunter2secret"


@contextmanager
def s3_server() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a folder in an empty bucket, and the variables under which a client finds it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # what moto holds outlives its server for as long as the process lives
        with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
            pass
        variables = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}/nights", variables
    finally:
        server.stop()
