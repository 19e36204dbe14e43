# ruff: noqa: ARG002 the fakes take what the SDK takes
"""Glance holds exactly the file; a published image is kept only when its checksum is right."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.smart_classroom.platform.plugins.filter.glance_image import glance_image_content_key
from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import CloudError
from ansible_collections.smart_classroom.platform.plugins.modules import published_checksum
from ansible_collections.smart_classroom.platform.plugins.modules.glance_image_file import run

DOWNLOAD = Path(__file__).resolve().parents[2] / "roles/glance_image/files/download-image"
IMAGE = bytes(range(256)) * 4096


class Image:
    """One image as the SDK shows it."""

    def __init__(self, number: int, content: bytes, status: str, tags: list[str], properties: dict[str, str]) -> None:
        self.id, self.status, self.tags = f"image-{number}", status, tags
        self.hash_value = hashlib.sha512(content).hexdigest()
        self.properties = properties

    def to_dict(self) -> dict[str, Any]:
        return {"properties": self.properties, "tags": self.tags}


class Cloud:
    """Glance in memory."""

    def __init__(self) -> None:
        self.image = self
        self.kept: list[Image] = []
        self.uploads = 0

    def images(self, name: str) -> list[Image]:
        return list(self.kept)

    def create_image(self, name: str, filename: str, tags: list[str], **fields: Any) -> Image:
        self.uploads += 1
        properties = {key: value for key, value in fields.items() if key.startswith("os_")}
        self.kept.append(Image(self.uploads, Path(filename).read_bytes(), "active", tags, properties))
        return self.kept[-1]

    def update_image(self, image: Image, **changes: Any) -> None:
        image.tags = changes.pop("tags", image.tags)
        image.properties |= changes

    def delete_image(self, image: Image, ignore_missing: bool) -> None:
        self.kept.remove(image)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guest.qcow2"
    path.write_bytes(b"one")
    return path


def sync(cloud: Cloud, path: Path, check_mode: bool = False, **changed: Any) -> dict[str, Any]:
    parameters = {
        "name": "centos",
        "state": "present",
        "path": str(path),
        "disk_format": "qcow2",
        "properties": {"os_distro": "debian"},
        "tags": ["project=x"],
        "timeout_seconds": 1,
    }
    return run(cloud, {**parameters, **changed}, check_mode)


def test_the_same_file_is_uploaded_once(file: Path) -> None:
    cloud = Cloud()
    assert sync(cloud, file)["changed"] is True
    assert sync(cloud, file) == {"changed": False, "replaced": [], "id": "image-1"}
    assert cloud.uploads == 1


def test_another_content_replaces_the_image(file: Path) -> None:
    cloud = Cloud()
    sync(cloud, file)
    file.write_bytes(b"two")
    assert sync(cloud, file) == {"changed": True, "replaced": ["image-1"], "id": "image-2"}
    assert [image.id for image in cloud.kept] == ["image-2"]


def test_a_broken_upload_is_replaced(file: Path) -> None:
    cloud = Cloud()
    cloud.kept.append(Image(0, b"one", "queued", [], {}))
    assert sync(cloud, file)["replaced"] == ["image-0"]


def test_properties_and_tags_are_corrected_without_an_upload(file: Path) -> None:
    cloud = Cloud()
    sync(cloud, file)
    assert sync(cloud, file, properties={"os_distro": "centos", "os_version": 10}, tags=[])["changed"] is True
    assert cloud.kept[0].properties == {"os_distro": "centos", "os_version": "10"}
    assert cloud.uploads == 1


def test_check_mode_does_nothing(file: Path) -> None:
    cloud = Cloud()
    assert sync(cloud, file, check_mode=True)["changed"] is True
    assert sync(cloud, file.with_name("not-built-yet"), check_mode=True)["changed"] is True
    assert cloud.kept == []


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(CloudError, match=r"no image file .*missing"):
        sync(Cloud(), file.with_name("missing"))


def test_teardown_twice(file: Path) -> None:
    cloud = Cloud()
    sync(cloud, file)
    assert sync(cloud, file, state="absent")["changed"] is True
    assert sync(cloud, file, state="absent")["changed"] is False


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


class Publisher(BaseHTTPRequestHandler):
    """Serves IMAGE, whole or from an offset, and notes the offsets; ``ends`` are where connections break off."""

    offsets: list[int]
    ends: list[int]
    ranges = True

    def do_GET(self) -> None:
        if self.path == "/CHECKSUM":
            digest = hashlib.sha256(IMAGE).hexdigest()
            return self.answer(200, f"# image.qcow2: 1 bytes\nSHA256 (image.qcow2) = {digest}\n".encode())
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.offsets.append(start)
        if not self.ranges:
            return self.answer(200, IMAGE)
        if start >= len(IMAGE):
            return self.answer(416, b"")
        end = self.ends.pop(0) if self.ends else len(IMAGE)
        return self.answer(206 if start else 200, IMAGE[start:end], len(IMAGE) - start, start)

    def answer(self, status: int, body: bytes, length: int | None = None, start: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(IMAGE) - 1}/{len(IMAGE)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Any]:
    """A class whose attributes say how the publisher behaves, with its address in ``url``."""
    handler: Any = type("Recording", (Publisher,), {"offsets": [], "ends": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}/image.qcow2"
        yield handler
        server.shutdown()


@pytest.fixture
def publisher(serving: Any) -> tuple[str, list[int]]:
    return serving.url, serving.offsets


def download(url: str, checksum: str, output: Path) -> subprocess.CompletedProcess[str]:
    command = [str(DOWNLOAD), url, checksum, str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_download_goes_on_where_it_stopped(publisher: tuple[str, list[int]], tmp_path: Path, algorithm: str) -> None:
    url, offsets = publisher
    output = tmp_path / "cache" / "image.qcow2"
    output.parent.mkdir()
    output.with_name("image.qcow2.partial").write_bytes(IMAGE[:1000])
    done = download(url, f"{algorithm}:{hashlib.new(algorithm, IMAGE).hexdigest()}", output)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == IMAGE
    assert offsets == [1000]
    assert "phase: virtual machine image: checksum" in done.stdout


def test_a_wrong_checksum_keeps_nothing(publisher: tuple[str, list[int]], tmp_path: Path) -> None:
    done = download(publisher[0], "sha256:" + "0" * 64, tmp_path / "image.qcow2")
    assert done.returncode == 1
    assert hashlib.sha256(IMAGE).hexdigest() in done.stderr
    assert list(tmp_path.iterdir()) == []


RIGHT = f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"


def test_connections_that_break_off_are_taken_up(serving: Any, tmp_path: Path) -> None:
    serving.ends = [100_000, 500_000]
    done = download(serving.url, RIGHT, tmp_path / "image.qcow2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE
    assert serving.offsets == [0, 100_000, 500_000]


def test_a_complete_file_that_was_not_named_yet_is_not_asked_for(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2.partial").write_bytes(IMAGE)
    assert download(serving.url, RIGHT, tmp_path / "image.qcow2").returncode == 0
    assert serving.offsets == []


@pytest.mark.parametrize("left", [b"of an earlier file" * 100, b"x" * len(IMAGE), b"x" * (len(IMAGE) + 5)])
def test_the_beginning_of_another_file_is_thrown_away(serving: Any, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "image.qcow2.partial").write_bytes(left)
    done = download(serving.url, RIGHT, tmp_path / "image.qcow2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE
    assert serving.offsets == [len(left), 0]


def test_a_publisher_that_sends_whole_files_only_is_taken_from_the_beginning(serving: Any, tmp_path: Path) -> None:
    serving.ranges = False
    (tmp_path / "image.qcow2.partial").write_bytes(IMAGE[:1000])
    done = download(serving.url, RIGHT, tmp_path / "image.qcow2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE


def test_a_full_disk_is_named(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2.partial").symlink_to("/dev/full")
    done = download(serving.url, RIGHT, tmp_path / "image.qcow2")
    assert done.returncode == 1
    assert "Is the disk full?" in done.stderr


def test_the_publishers_list_gives_the_checksum(serving: Any) -> None:
    text = published_checksum.read(serving.url.replace("image.qcow2", "CHECKSUM"), 5)
    assert published_checksum.find(text, "image.qcow2") == RIGHT
    with pytest.raises(published_checksum.ChecksumError, match=r"no SHA-256 or SHA-512 line for other\.qcow2"):
        published_checksum.find(text, "other.qcow2")
    with pytest.raises(published_checksum.ChecksumError, match="Is the publisher reachable"):
        published_checksum.read("http://127.0.0.1:9/CHECKSUM", 5)


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        ("A" * 64 + "  a.qcow2\n", "sha256:" + "a" * 64),
        ("b" * 128 + " *a.qcow2\n" + "a" * 64 + " *a.qcow2\n", "sha512:" + "b" * 128),
        ("# a\nMD5 (a.qcow2) = 0\nSHA256 (a.qcow2) = " + "c" * 64, "sha256:" + "c" * 64),
    ],
)
def test_lists_in_every_form(text: str, checksum: str) -> None:
    assert published_checksum.find(text, "a.qcow2") == checksum
