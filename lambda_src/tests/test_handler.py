"""The entry point as the runtime calls it."""

from __future__ import annotations

import importlib
import json

import pytest
from function_cloud import KNOWN, OUTPUT, TABLE, Cloud, FakeContext, s3_body, sqs_event
from recognition.config import ConfigError


def test_the_handler_makes_its_clients_from_the_environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = importlib.import_module("handler")
    handler._service.cache_clear()
    environment = {
        "TABLE_NAME": TABLE,
        "OUTPUT_BUCKET": OUTPUT,
        "GALLERY_BUCKET": KNOWN,
        "OUTPUT_QUEUE_URL": cloud.config.output_queue_url,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cloud.upload("joe-biden-360p.mp4")
    answer = handler.face_recognition_handler(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    handler._service.cache_clear()
    assert json.loads(json.dumps(answer))["answers"] == [{"key": "joe-biden-360p.mp4", "status": "recognized"}]


def test_without_its_environment_the_handler_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = importlib.import_module("handler")
    handler._service.cache_clear()
    for name in ("TABLE_NAME", "OUTPUT_BUCKET", "GALLERY_BUCKET", "OUTPUT_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="TABLE_NAME is not set"):
        handler.face_recognition_handler({}, FakeContext())
