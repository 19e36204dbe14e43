"""The name of a built image follows everything that it is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.smart_classroom.platform.plugins.filter.glance_image import glance_image_content_key
from tests.support.role_variables import evaluate


def test_content_key_follows_name_mode_and_content(tmp_path: Path) -> None:
    script = tmp_path / "a" / "script"
    script.parent.mkdir()
    script.write_text("one")
    keys = [glance_image_content_key(str(tmp_path))]
    script.write_text("two")
    keys.append(glance_image_content_key(str(tmp_path)))
    script.chmod(0o755)
    keys.append(glance_image_content_key(str(tmp_path)))
    script.rename(script.with_name("other"))
    keys.append(glance_image_content_key(str(tmp_path)))
    assert len(set(keys)) == 4
    (script.parent / "__pycache__").mkdir()
    (script.parent / "__pycache__/other.pyc").write_bytes(b"compiled")
    assert glance_image_content_key(str(tmp_path)) == keys[-1]
    with pytest.raises(FileNotFoundError):
        glance_image_content_key(str(tmp_path / "nothing"))


def test_an_image_of_the_same_name_without_our_tags_is_somebody_elses() -> None:
    images = [
        {"id": "ours", "name": "centos", "tags": ["project=p", "environment=e", "owner=before"]},
        {"id": "public", "name": "centos", "tags": []},
        {"id": "dev", "name": "centos", "tags": ["project=p", "environment=dev"]},
    ]
    named = evaluate(
        "glance_image",
        "__glance_image_named | map(attribute='id')",
        glance_image_tags=["project=p", "environment=e", "owner=now"],
        __glance_image_found={"images": images},
    )
    assert named == ["ours"]
