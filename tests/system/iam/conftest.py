"""The emulator with enforcement on, the roles run against it, the real handler and the real poller."""

from __future__ import annotations

import contextlib
import io
import json
import os
import ssl
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import emulator, eventually, free_port
from tests.system.iam.enforcing_account import (
    ALIAS,
    ENCODINGS,
    FUNCTION,
    FUNCTION_ROLE,
    MEDIA,
    OUTPUT,
    OUTPUT_QUEUE,
    ROOT,
    TABLE,
    Account,
)
from tests.system.iam.poller_process import Poller


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address, and its key."""
    paths = directory / "server.crt", directory / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return paths


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """The account with everything that the roles make in it, as yet without code in its function."""
    directory = tmp_path_factory.mktemp("account")
    public, private = certificate(directory)
    port = free_port()
    environment = {
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(public),
        "MINISTACK_SSL_KEY": str(private),
        "MINISTACK_HOST": "127.0.0.1",
        "LAMBDA_EXECUTOR": "local",
        # The function's code runs as a child of the emulator.
        "AWS_CA_BUNDLE": str(public),
    }
    made = Account(f"https://127.0.0.1:{port}", public, directory)
    trusted = ssl.create_default_context(cafile=str(public))

    def healthy() -> bool:
        with contextlib.suppress(OSError):
            health = f"{made.endpoint}/_ministack/health"
            with urllib.request.urlopen(health, timeout=5, context=trusted) as answer:  # noqa: S310 our own address
                return bool(json.load(answer)["auth"] == "enabled")
        return False

    with emulator(port, directory, environment, ROOT / "tests/system/iam/strict_emulator.py"):
        eventually(healthy, 60, "an answer of the emulator")
        made.deploy()
        yield made


def fill(account: Account) -> None:
    """Enroll the sample students."""
    command = [sys.executable, "-m", "recognition.enroll"]
    command += ["--photos", str(MEDIA / "students"), "--roster", str(MEDIA / "students.csv")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    enrolled = subprocess.run(
        command, cwd=ROOT / "lambda_src", env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    answer = json.loads(enrolled.stdout)
    (account.directory / "gallery.json").write_text(json.dumps(answer["gallery"]))
    account.publish_gallery()
    for record in answer["records"]:
        item = {name: {"S": value} for name, value in record.items()}
        account.client("dynamodb").put_item(TableName=TABLE, Item=item)


def add_functions(account: Account) -> None:
    """The real handler behind the alias, and the probe, both with the function's role."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.write(ROOT / "tests/system/iam/function/index.py", "index.py")
    variables = {
        "HANDLER_DIRECTORY": str(ROOT / "lambda_src"),
        "AWS_ENDPOINT_URL": account.endpoint,
        "AWS_CA_BUNDLE": str(account.certificate),
        "TABLE_NAME": TABLE,
        "OUTPUT_BUCKET": OUTPUT,
        "GALLERY_BUCKET": ENCODINGS,
        # Each invocation reads the known encodings, so that each needs the permission to.
        "GALLERY_TTL_SECONDS": "0",
        "OUTPUT_QUEUE_URL": account.queue_url(OUTPUT_QUEUE),
    }
    account.client("logs").create_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")
    functions = account.client("lambda")
    role = account.client("iam").get_role(RoleName=FUNCTION_ROLE)["Role"]["Arn"]
    for name, entry in ((FUNCTION, "recognise"), ("probe", "probe")):
        functions.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Handler=f"index.{entry}",
            Role=role,
            Code={"ZipFile": code.getvalue()},
            Timeout=60,
            MemorySize=2048,
            Environment={"Variables": variables},
        )
    version = functions.publish_version(FunctionName=FUNCTION)["Version"]
    functions.create_alias(FunctionName=FUNCTION, Name=ALIAS, FunctionVersion=version)


@pytest.fixture(scope="session")
def poller(account: Account) -> Iterator[Poller]:
    """The poller, not started yet."""
    made = Poller(account)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def pipeline(account: Account, poller: Poller) -> Account:
    """The whole pipeline at work: uploads are announced, the poller invokes the function by its alias."""
    fill(account)
    add_functions(account)
    poller.start(account.credentials_file)
    return account
