"""S3 as moto plays it, in a process of its own. By default it believes everybody; strictly, it verifies signatures (and
then cannot serve presigned addresses), so there are two of them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.adapters.s3 import Bucket

BUCKET = "darkroom-test"
REGION = "us-east-1"
_POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
_SERVER = """
import os, sys
strict = sys.argv[1]
if strict != "0":
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = strict
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@dataclass(frozen=True)
class Moto:
    endpoint: str
    access_key: str = "anyone"
    secret_key: str = "anything"

    def bucket(self, **changes: Any) -> Bucket:
        given = {
            "name": BUCKET,
            "region": REGION,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "endpoint": self.endpoint,
        }
        return Bucket(**(given | changes))

    def environment(self) -> dict[str, Any]:
        """What leads a service of ours here."""
        return {
            "DARKROOM_STORAGE_URL": f"s3://{BUCKET}",
            "DARKROOM_S3_ENDPOINT": self.endpoint,
            "DARKROOM_S3_REGION": REGION,
            "DARKROOM_S3_ACCESS_KEY_ID": self.access_key,
            "DARKROOM_S3_SECRET_ACCESS_KEY": self.secret_key,
        }


@contextmanager
def moto(*, strict: bool) -> Iterator[Moto]:
    import boto3

    free_actions = 4 if strict else 0  # those that make the bucket and the user who may use it
    command = [sys.executable, "-W", "ignore", "-c", _SERVER, str(free_actions)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        where = {
            "endpoint_url": endpoint,
            "region_name": REGION,
            "aws_access_key_id": "any",
            "aws_secret_access_key": "any",
        }
        boto3.client("s3", **where).create_bucket(Bucket=BUCKET)
        if not strict:
            yield Moto(endpoint)
        else:
            iam = boto3.client("iam", **where)
            iam.create_user(UserName="darkroom")
            iam.put_user_policy(UserName="darkroom", PolicyName="bucket", PolicyDocument=_POLICY)
            key = iam.create_access_key(UserName="darkroom")["AccessKey"]
            yield Moto(endpoint, key["AccessKeyId"], key["SecretAccessKey"])
        process.stdin.close()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def believing_moto() -> Iterator[Moto]:
    with moto(strict=False) as server:
        yield server


@pytest.fixture(scope="session")
def strict_moto() -> Iterator[Moto]:
    with moto(strict=True) as server:
        yield server
