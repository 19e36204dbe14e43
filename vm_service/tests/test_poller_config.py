"""Settings: everything wrong is said at once, nothing wrong gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from classroom_poller.clients import open_clients
from classroom_poller.config import Config, ConfigError, load_config, queue_arn

GOOD = """
region = "us-east-1"
function_name = "smart-classroom"
input_queue_url = "http://172.30.0.10:4566/000000000000/input-notification"
output_queue_url = "http://172.30.0.10:4566/000000000000/output-notification"
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "poller.toml"
    path.write_text(text)
    return path


def test_defaults_apply_to_what_is_not_said(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD + 'results_dir = "/srv/results"\n'))
    assert (config.concurrency, config.batch_size, config.wait_seconds) == (2, 5, 20)
    assert config.results_dir == Path("/srv/results")


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    text = """
    region = ""
    input_queue_url = "input-notification"
    output_queue_url = 3
    endpoint_url = "172.30.0.10:4566"
    concurrency = 0
    batch_size = 11
    wait_seconds = true
    results_dir = "results"
    log_level = "LOUD"
    concurency = 2
    """
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    for part in (
        str(tmp_path),
        "region is empty",
        "function_name is missing",
        "input_queue_url must be a queue's URL",
        "output_queue_url must be a text",
        "endpoint_url must be",
        "concurrency must be a whole number from 1 to 64, not 0",
        "batch_size must be",
        "wait_seconds must be",
        "results_dir must be an absolute path",
        "log_level must be one of",
        "concurency is no setting",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["region = ", "\xff"])
def test_a_file_that_is_not_toml_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "poller.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the settings .*poller\.toml: No such file"):
        load_config(tmp_path / "poller.toml")


def test_arn_of_a_queue() -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/input"
    assert queue_arn(url, "eu-central-1") == "arn:aws:sqs:eu-central-1:123456789012:input"


def config() -> Config:
    return Config("us-east-1", "f", "http://h/1/in", "http://h/1/out", endpoint_url="http://127.0.0.1:9")


def test_credentials_come_from_the_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    path = tmp_path / "aws"
    path.write_text("[default]\naws_access_key_id = file\naws_secret_access_key = x\n")
    clients: Any = open_clients(config(), path)
    assert clients.sqs._request_signer._credentials.access_key == "file"


@pytest.mark.parametrize(
    "text",
    [None, "", "[other]\naws_access_key_id = a\naws_secret_access_key = b\n", "[default]\naws_access_key_id = a\n"],
)
def test_unusable_credentials_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    path = tmp_path / "aws"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match="credentials"):
        open_clients(config(), path)


def test_the_invocation_is_tried_once_and_waits_longer_than_the_function_may_run(tmp_path: Path) -> None:
    path = tmp_path / "aws"
    path.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    clients: Any = open_clients(config(), path)
    assert clients.function.meta.config.retries["total_max_attempts"] == 1
    assert clients.function.meta.config.read_timeout > config().function_timeout_seconds
    assert clients.receiver.meta.config.read_timeout > config().wait_seconds
