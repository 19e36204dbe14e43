"""The image for arm64, assembled on this machine without emulation, answers as the code on this machine does.

It is run with qemu's user emulation, which needs neither binfmt_misc nor an arm64 kernel: the image's root file system
becomes the root directory of ``qemu-aarch64-static``. What this does not show is its speed on a real processor.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.servers import emulator, free_port

ROOT = Path(__file__).resolve().parents[3]
MEDIA = ROOT / "tests" / "media"
CACHE = ROOT / ".cache"
BUILD = [sys.executable, str(ROOT / "roles/lambda_image/files/build_image.py")]
OPTIONS = ["--project", str(ROOT), "--cache", str(CACHE / "lambda_image"), "--architecture", "arm64"]
CLIPS = ["joe-biden-360p.mp4", "stranger-720p.mp4", "no-face-720p.mp4", "truncated.mp4"]
# Given the same pixels both give the same encoding, to seven digits. The pixels differ by up to two levels of 256: the
# decoder turns YUV into RGB by other instructions on each processor. That moves a distance by about 0.01; between
# different people it is 0.5.
TOLERANCE = 0.02

sys.path.insert(0, str(ROOT / "vm_service"))
from poller_testing.loopback_aws import LoopbackAws  # type: ignore[import-not-found]  # noqa: E402 - after the path

pytestmark = pytest.mark.skipif(os.uname().machine == "aarch64", reason="here the image is the native one")


def run(command: list[str], seconds: int, **options: Any) -> str:
    """Runs a command; its output, or everything that it said in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return str(done.stdout)


@pytest.fixture(scope="session")
def qemu() -> Path:
    """The emulator: the installed one, or the one out of Debian's package, unpacked beside the project."""
    if installed := shutil.which("qemu-aarch64-static"):
        return Path(installed)
    directory = CACHE / "qemu-user-static"
    program = directory / "usr/bin/qemu-aarch64-static"
    if not program.exists():
        directory.mkdir(parents=True, exist_ok=True)
        run(["apt-get", "--quiet", "download", "qemu-user-static"], 300, cwd=directory)
        (package,) = directory.glob("qemu-user-static_*.deb")
        run(["dpkg-deb", "--extract", str(package), str(directory)], 120)
        package.unlink()
    return program


@pytest.fixture(scope="session")
def layout() -> Path:
    """The image as the role builds it."""
    run([*BUILD, "build", *OPTIONS], 1200)
    return Path(run([*BUILD, "layout", *OPTIONS], 60).strip())


def blob(layout: Path, digest: str) -> Path:
    """A part of the image."""
    return layout / "blobs" / digest.replace(":", "/")


def manifest(layout: Path) -> dict[str, Any]:
    """The image's manifest."""
    index = json.loads((layout / "index.json").read_text())
    found: dict[str, Any] = json.loads(blob(layout, index["manifests"][0]["digest"]).read_text())
    return found


@pytest.fixture(scope="session")
def rootfs(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's layers, one over the other."""
    directory = tmp_path_factory.mktemp("rootfs")
    for layer in manifest(layout)["layers"]:
        with tarfile.open(blob(layout, layer["digest"])) as archive:
            archive.extractall(directory)  # noqa: S202 made above
    return directory


class Announcing:
    """The AWS APIs with the sample students and clips in them."""

    def __init__(self) -> None:
        self.aws = LoopbackAws()
        self.clients: dict[str, Any] = {
            name: boto3.client(name, region_name="us-east-1") for name in ("s3", "sqs", "dynamodb")
        }
        for bucket in ("input-bucket-video", "output-bucket-vid", "known-encodings"):
            self.clients["s3"].create_bucket(Bucket=bucket)
        self.queue = self.clients["sqs"].create_queue(QueueName="output-notification")["QueueUrl"]
        self.clients["dynamodb"].create_table(
            TableName="student_table",
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for clip in CLIPS:
            self.clients["s3"].put_object(Bucket="input-bucket-video", Key=clip, Body=(MEDIA / clip).read_bytes())
        enroll = [sys.executable, "-m", "recognition.enroll", "--photos", str(MEDIA / "students")]
        enroll += ["--roster", str(MEDIA / "students.csv")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        enrolled = json.loads(run(enroll, 300, cwd=ROOT / "lambda_src", env=environment))
        gallery = json.dumps(enrolled["gallery"]).encode()
        self.clients["s3"].put_object(Bucket="known-encodings", Key="everyone.json", Body=gallery)
        for record in enrolled["records"]:
            item = {name: {"S": value} for name, value in record.items()}
            self.clients["dynamodb"].put_item(TableName="student_table", Item=item)

    def environment(self) -> dict[str, str]:
        """What the function is told."""
        return {
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "TABLE_NAME": "student_table",
            "OUTPUT_BUCKET": "output-bucket-vid",
            "GALLERY_BUCKET": "known-encodings",
            "OUTPUT_QUEUE_URL": self.queue,
            "GALLERY_TTL_SECONDS": "3600",
            # Emulated, a clip takes longer than the function would let it.
            "LEAST_BUDGET_SECONDS": "600",
            "TIME_BUDGET_SECONDS": "600",
        }

    def results(self) -> dict[str, dict[str, Any]]:
        """The tables and accounts of the last answers, by clip."""
        found = {}
        for clip in CLIPS:
            stem = clip.removesuffix(".mp4")
            read = {
                kind: self.clients["s3"].get_object(Bucket="output-bucket-vid", Key=f"{stem}.{kind}")
                for kind in ("csv", "json")
            }
            account = json.loads(read["json"]["Body"].read())
            rows = list(csv.DictReader(io.StringIO(read["csv"]["Body"].read().decode())))
            found[clip] = {"status": account["status"], "rows": rows, "students": account["students"]}
        return found


@pytest.fixture(scope="session")
def services() -> Iterator[Announcing]:
    """The services that the function calls."""
    made = Announcing()
    yield made
    made.aws.close()


def test_the_image_says_what_it_is(layout: Path) -> None:
    config = json.loads(blob(layout, manifest(layout)["config"]["digest"]).read_text())
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["config"]["Entrypoint"] == ["/entry.sh"]
    assert config["config"]["Cmd"] == ["handler.face_recognition_handler"]
    assert config["config"]["WorkingDir"] == "/home/app/"
    assert "PYTHONPATH=/home/app" in config["config"]["Env"]


def test_every_program_and_library_is_for_arm64(rootfs: Path) -> None:
    machines = set()
    for path in rootfs.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                head = file.read(20)
            if head[:4] == b"\x7fELF":
                machines.add(int.from_bytes(head[18:20], "little"))
    assert machines == {183}, "183 is AArch64"


def test_the_registry_has_the_very_image(layout: Path, tmp_path: Path) -> None:
    port = free_port()
    registry = f"127.0.0.1:{port}"
    with emulator(port, tmp_path):
        boto3.client(
            "ecr",
            endpoint_url=f"http://{registry}",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        ).create_repository(repositoryName="function")
        run(
            [
                "skopeo",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                f"oci:{layout}",
                f"docker://{registry}/function:1",
            ],
            300,
        )
        found = run(["skopeo", "inspect", "--tls-verify=false", f"docker://{registry}/function:1"], 60)
    index = json.loads((layout / "index.json").read_text())
    assert json.loads(found)["Digest"] == index["manifests"][0]["digest"]
    assert json.loads(found)["Architecture"] == "arm64"


def test_arm64_answers_as_this_machine_does(services: Announcing, rootfs: Path, qemu: Path) -> None:
    program = Path(__file__).with_name("answer_clips.py")
    environment = services.environment()

    native = {**environment, "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'lambda_src'}:{ROOT}"}
    said = run([sys.executable, str(program), *CLIPS], 300, env=native)
    assert said.count('"machine": "x86_64"') == len(CLIPS)
    expected = services.results()

    (rootfs / "tmp" / program.name).write_bytes(program.read_bytes())
    shutil.copy(qemu, rootfs / "qemu")
    for device in ("null", "urandom"):
        (rootfs / "dev" / device).unlink(missing_ok=True)
        (rootfs / "dev").mkdir(exist_ok=True)
        os.mknod(rootfs / "dev" / device, 0o020666, Path("/dev", device).stat().st_rdev)
    emulated = {**environment, "PATH": "/usr/bin", "PYTHONPATH": "/home/app", "OPENBLAS_NUM_THREADS": "1"}
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin") or "chroot"
    command = [chroot, str(rootfs), "/qemu", "/usr/bin/python3.11", f"/tmp/{program.name}", *CLIPS]  # noqa: S108 the image's own
    said = run(command, 900, env=emulated)
    assert said.count('"machine": "aarch64"') == len(CLIPS)
    found = services.results()

    for clip in CLIPS:
        assert found[clip]["status"] == expected[clip]["status"], clip
        assert found[clip]["rows"] == expected[clip]["rows"], clip
        for ours, theirs in zip(found[clip]["students"], expected[clip]["students"], strict=True):
            assert ours["name"] == theirs["name"]
            assert ours["distance"] == pytest.approx(theirs["distance"], abs=TOLERANCE)
    assert expected["joe-biden-360p.mp4"]["rows"][0]["name"] == "Joe Biden"
