"""The image's name follows its content; the push happens once and never shows its token."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ansible_collections.smart_classroom.platform.plugins.modules import lambda_image_push
from tests.support.programs import ROOT, load

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
build_image = load("roles/lambda_image/files/build_image.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("lambda_src", "classroom_contract"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def name_of(project: Path, architecture: str = "amd64") -> str:
    return str(build_image.Build(project, project / "cache", "function", architecture, ()).image)


@pytest.mark.parametrize(
    "file",
    [
        "lambda_src/handler.py",
        "lambda_src/entry.sh",
        "lambda_src/Containerfile",
        "lambda_src/MODELS.md",
        "lambda_src/recognition/matching.py",
        "classroom_contract/keys.py",
        "lambda_src/recognition/cohort.npy",
        "requirements.lock",
    ],
)
def test_what_goes_in_changes_the_name(project: Path, file: str) -> None:
    before = name_of(project)
    with (project / file).open("a") as changed:
        changed.write("# another line\n")
    assert name_of(project) != before


def test_a_gallery_for_the_image_goes_in_where_the_function_looks_for_it(project: Path, tmp_path: Path) -> None:
    before = name_of(project)
    (project / "lambda_src" / "known-encodings.json").write_text("{}")
    assert name_of(project) != before
    build = build_image.Build(project, project / "cache", "function", "amd64", ())
    assert project / "lambda_src" / "known-encodings.json" in build.application_files()


def test_what_does_not_go_in_leaves_the_name(project: Path) -> None:
    before = name_of(project)
    (project / "lambda_src" / "tests" / "test_more.py").write_text("")
    (project / "lambda_src" / "recognition" / "__pycache__").mkdir()
    (project / "lambda_src" / "recognition" / "__pycache__" / "x.pyc").write_bytes(b"x")
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace("line-length = 120", "line-length = 121"))
    assert name_of(project) == before


def test_the_architecture_changes_the_name(project: Path) -> None:
    assert name_of(project, "amd64") != name_of(project, "arm64")


def test_a_failed_step_says_what_failed_and_what_mends_it() -> None:
    with pytest.raises(build_image.BuildError, match=r"counting: sh failed with 3:\nno numbers\nBuy some\."):
        build_image.run("counting", ["sh", "-c", "echo no numbers >&2; exit 3"], "Buy some.")
    with pytest.raises(build_image.BuildError, match="no-such-program is not installed"):
        build_image.run("counting", ["no-such-program"], "Install it.")


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("ecr", region_name="us-east-1")
        client.create_repository(repositoryName="smart-classroom")
        yield client


def test_a_tag_is_found_by_its_digest(ecr: Any) -> None:
    target = lambda_image_push.Target("smart-classroom", "0123")
    assert lambda_image_push.pushed_digest(ecr, target) is None
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": "sha256:" + "0" * 64}, "layers": []}
    ecr.put_image(repositoryName="smart-classroom", imageTag="0123", imageManifest=json.dumps(manifest))
    assert str(lambda_image_push.pushed_digest(ecr, target)).startswith("sha256:")


def test_a_missing_repository_is_named_with_the_command(ecr: Any) -> None:
    with pytest.raises(lambda_image_push.NoRepositoryError, match=r"no repository elsewhere.*deploy-aws\.yml"):
        lambda_image_push.pushed_digest(ecr, lambda_image_push.Target("elsewhere", "0123"))


def test_the_registry_is_the_repositorys_unless_named(ecr: Any) -> None:
    assert "amazonaws.com" in lambda_image_push.registry_host(ecr, lambda_image_push.Target("smart-classroom", "1"))
    named = lambda_image_push.Target("smart-classroom", "1", "127.0.0.1:4566")
    assert lambda_image_push.registry_host(ecr, named) == "127.0.0.1:4566"


class FakeModule:
    """Records the command and what the credentials were while it ran."""

    def __init__(self, directory: Path, code: int) -> None:
        self.tmpdir, self.code = str(directory), code
        self.command: list[str] = []

    def get_bin_path(self, name: str, required: bool) -> str:
        assert required
        return f"/usr/bin/{name}"

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.command = command
        self.file = Path(command[command.index("--authfile") + 1])
        self.mode = stat.S_IMODE(self.file.stat().st_mode)
        self.credentials = json.loads(self.file.read_text())
        return self.code, "", "connection refused"


def test_the_token_is_in_a_private_file_and_nowhere_else(ecr: Any, tmp_path: Path) -> None:
    module = FakeModule(tmp_path, 0)
    target = lambda_image_push.Target("smart-classroom", "0123", "127.0.0.1:4566")
    lambda_image_push.push(module, ecr, "docker-daemon:function:0123", target, False, 60)
    token = module.credentials["auths"]["127.0.0.1:4566"]["auth"]
    assert module.mode == 0o600
    assert not module.file.exists()
    assert token not in " ".join(module.command)
    assert "--dest-tls-verify=false" in module.command
    assert module.command[-2:] == ["docker-daemon:function:0123", "docker://127.0.0.1:4566/smart-classroom:0123"]


@pytest.mark.parametrize(("code", "words"), [(1, "connection refused"), (124, "longer than 60 s")])
def test_a_failed_push_says_why(ecr: Any, tmp_path: Path, code: int, words: str) -> None:
    target = lambda_image_push.Target("smart-classroom", "0123", "127.0.0.1:4566")
    with pytest.raises(lambda_image_push.PushError, match=words):
        lambda_image_push.push(FakeModule(tmp_path, code), ecr, "function:0123", target, True, 60)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_foreign_image_is_run_while_it_is_built() -> None:
    lines = (ROOT / "lambda_src/Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    instructions = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert instructions <= {"FROM", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert "FROM scratch" in lines


@pytest.mark.skipif(shutil.which("buildah") is None or os.geteuid() != 0, reason="role control_node installs buildah")
def test_the_same_content_makes_the_same_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, content: str) -> str:
        """Digest of the image for the other architecture, from a context with one file."""
        cache = tmp_path / name
        cache.mkdir()
        context = cache / "context"
        (context / "files").mkdir(parents=True)
        (context / "files/x").write_text(content)
        (context / "Containerfile").write_text("FROM scratch\nCOPY files/ /usr/\nENV A=1\n")
        foreign = "arm64" if platform.machine() == "x86_64" else "amd64"
        build = build_image.Build(ROOT, cache, "function", foreign, ("l=1",))
        monkeypatch.setattr(build_image, "assembled", lambda _build: contextlib.nullcontext(context))
        build_image.make_layout(build)
        assert [path.name for path in cache.iterdir() if path != context] == [build.layout.name]
        (entry,) = json.loads((build.layout / "index.json").read_text())["manifests"]
        blobs = build.layout / "blobs/sha256"
        manifest = json.loads((blobs / entry["digest"].partition(":")[2]).read_text())
        config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
        assert (config["architecture"], config["config"]["Labels"]["l"]) == (foreign, "1")
        return str(entry["digest"])

    assert made("a", "1") == made("b", "1") != made("c", "2")
