"""The poller's access key where keys are checked: never shown, and replaced while the poller works."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils import access_keys
from ansible_collections.smart_classroom.platform.plugins.modules import aws_access_key
from tests.support.servers import eventually
from tests.system.iam.enforcing_account import POLLER_USER, Account
from tests.system.iam.poller_process import Poller

WAIT_SECONDS = 90
VIDEOS = 12


class Commands(threading.Thread):
    """Notes the arguments and environments of every process, as `ps` shows them, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                for kind in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / kind).read_bytes())
                    except OSError:
                        continue  # it has ended

    def stop(self) -> bytes:
        self._ended.set()
        self.join(10)
        return b"\0".join(self.seen)


def test_the_secret_is_in_no_log_and_no_command(account: Account) -> None:
    before = account.credentials_file.read_bytes()
    commands = Commands()
    commands.start()
    said = account.deploy()
    account.credentials_file.unlink()
    said += account.deploy()  # makes another key, and so handles a secret
    shown = commands.stop()
    key = access_keys.read_key(account.credentials_file)
    assert key is not None
    assert account.credentials_file.read_bytes() != before
    assert key[1] not in said
    assert key[1].encode() not in shown
    # The same looks find what is there.
    assert "Ensure that the poller has an access key" in said
    assert b"ansible-playbook" in shown
    assert list(access_keys.user_keys(account.client("iam"), POLLER_USER)) == [key[0]]
    assert account.credentials_file.stat().st_mode & 0o777 == 0o600


def test_the_key_is_replaced_while_videos_arrive(pipeline: Account, poller: Poller) -> None:
    poller.start(pipeline.credentials_file)
    iam = pipeline.client("iam")
    old = access_keys.read_key(pipeline.credentials_file)
    assert old is not None
    keys = [f"rotation-{number}.mp4" for number in range(VIDEOS)]
    stopped = threading.Event()

    def teach() -> None:
        for key in keys:
            pipeline.upload(key)
            stopped.wait(0.5)

    def ask(path: Path) -> Any:
        identifier, secret = access_keys.read_key(path) or ("", "")
        return pipeline.client("sts", aws_access_key_id=identifier, aws_secret_access_key=secret).get_caller_identity()[
            "Arn"
        ]

    def take(step: str) -> dict[str, Any]:
        parameters = {
            "user": POLLER_USER,
            "credentials_file": str(pipeline.credentials_file),
            "step": step,
            "wait_seconds": 30,
        }
        return aws_access_key.run(iam, parameters, False, ask)

    workload = threading.Thread(target=teach, daemon=True)
    workload.start()
    new = take("prepared")["key_id"]
    poller.start(access_keys.next_file(pipeline.credentials_file))
    eventually(lambda: pipeline.stored(keys[0]), WAIT_SECONDS, "the first answer")
    take("promoted")
    take("retired")
    with pytest.raises(ClientError):
        pipeline.client("sts", aws_access_key_id=old[0], aws_secret_access_key=old[1]).get_caller_identity()
    workload.join(60)
    eventually(lambda: all(pipeline.stored(key) for key in keys) and pipeline.idle(), WAIT_SECONDS, "every answer")
    take("finished")
    assert list(access_keys.user_keys(iam, POLLER_USER)) == [new]
    assert [pipeline.results(key)[1:] for key in keys] == [[]] * VIDEOS, "one table for each video"
    assert [pipeline.depth(f"{queue}-dlq") for queue in ("input-notification", "output-notification")] == [0, 0]
