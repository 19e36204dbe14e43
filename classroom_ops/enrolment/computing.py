"""Computes encodings in a container of the function's own image, without network, so that they fit the function."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from classroom_contract.gallery import Encodings, GalleryFile
from classroom_contract.roster import COLUMNS, RosterStudent
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.store import MODEL, Known

_SECONDS_A_PHOTO = 2.0  # on a busy machine; a third of a second is usual
_PICKLE = "encodings.pickle"  # as the image knows it
_TAIL = 2000  # letters of an unexpected failure that are shown

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Photo:
    """A photo as the image reads it: its file, its student's name, and what it is called in messages."""

    file: Path
    student: str
    label: str


@dataclass(frozen=True)
class Job:
    """What the image is given.

    `giving_way` are names of samples among the students or the known. Of the `students`, who is neither known nor has
    a photo is a problem unless `partial`. `pickle` is the course project's file of encodings.
    """

    students: Sequence[RosterStudent]
    photos: Sequence[Photo]
    pickle: Path | None
    known: Known
    giving_way: Collection[str]
    partial: bool


@dataclass(frozen=True)
class Computed:
    """What the image found: encodings by name, samples by whom they gave way to, who of the pickle was skipped."""

    encodings: Mapping[str, Encodings]
    gave_way: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """A container engine's command, the image, and how long a run may take beside its photos."""

    command: str
    image: str
    timeout_seconds: float

    def compute(self, job: Job, progress: Progress = lambda _: None) -> Computed:
        """Run the image on `job`; `progress` is told how far it has come.

        Raises:
            EnrolmentError: the image refused something, failed, or took too long.
        """
        with tempfile.TemporaryDirectory(prefix="enrolment-") as directory:
            shared = Path(directory)
            arguments = write(job, shared)
            with self._container() as name:
                command = [self.command, "run", "--rm", "--name", name, "--network", "none", "--entrypoint", "python3"]
                command += ["--volume", f"{shared}:/enroll:ro", self.image, "-m", "recognition.enroll", *arguments]
                seconds = self.timeout_seconds + _SECONDS_A_PHOTO * len(job.photos)
                return understood(*_run(command, seconds, progress), job.pickle.name if job.pickle else "")

    @contextmanager
    def _container(self) -> Iterator[str]:
        """A name for a container, which is gone afterwards whatever happens."""
        name = f"students-enrolment-{threading.get_native_id()}"
        try:
            yield name
        except BaseException:
            subprocess.run([self.command, "rm", "--force", name], capture_output=True, timeout=60, check=False)
            raise


def write(job: Job, shared: Path) -> list[str]:
    """Write the job's files into a directory; the arguments that name them in the container, below ``/enroll``."""
    photos = shared / "photos"
    photos.mkdir()
    owners = {}
    for number, photo in enumerate(job.photos):
        file = f"{number:05}.jpg"
        photo.file.rename(photos / file)
        owners[file] = {"student": photo.student, "label": photo.label}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([student.name, student.id, student.major, student.year] for student in job.students)
    contents: dict[str, bytes] = {
        "students.csv": text.getvalue().encode(),
        "owners.json": json.dumps(owners).encode(),
        "giving-way.json": json.dumps(sorted(job.giving_way)).encode(),
    }
    arguments = ["--photos", "/enroll/photos", "--roster", "/enroll/students.csv", "--owners", "/enroll/owners.json"]
    arguments += ["--giving-way", "/enroll/giving-way.json", *(["--partial"] if job.partial else [])]
    if job.known.students:
        contents["known.json"] = job.known.file.render().encode()
        arguments += ["--known", "/enroll/known.json"]
    if job.pickle:
        try:
            contents[_PICKLE] = job.pickle.read_bytes()
        except OSError as error:
            raise EnrolmentError([f"{job.pickle}: cannot be read: {error.strerror}"]) from error
        arguments += ["--pickle", f"/enroll/{_PICKLE}"]
    for name, content in contents.items():
        (shared / name).write_bytes(content)
    return arguments


def _run(command: Sequence[str], seconds: float, progress: Progress) -> tuple[int, str, list[str]]:
    """Run a program; its exit code, its output and the lines of its errors, of which progress is told at once."""
    lines: list[str] = []

    def listen() -> None:
        assert process.stderr is not None  # noqa: S101 it is a pipe
        for line in process.stderr:
            if line.startswith("progress: "):
                progress(f"faces of photo {line.removeprefix('progress: ').strip()}")
            else:
                lines.append(line.rstrip("\n"))

    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True, encoding="utf-8"
            )
        except OSError as error:
            raise EnrolmentError(
                [f"{command[0]} cannot be run: {error.strerror}; is the container engine installed? make up"]
            ) from error
        with process:
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise EnrolmentError(
                    [f"the encodings were not computed in {seconds:.0f} s: raise students_timeout_seconds"]
                ) from error
            listener.join()
        output.seek(0)
        return code, output.read(), lines


def understood(code: int, output: str, lines: Sequence[str], pickle: str = "") -> Computed:
    """What the image's exit code, output and errors say. Raises EnrolmentError with what it refused."""
    if code != 0:
        problems = [line.removeprefix("enroll: ") for line in lines if line.startswith("enroll: ")]
        reason = "\n".join(lines).strip()[-_TAIL:]
        raise EnrolmentError(
            [problem.replace(_PICKLE, pickle) for problem in problems] or [f"computing the encodings failed: {reason}"]
        )
    try:
        document = json.loads(output)
        encodings = {str(student["name"]): student["encodings"] for student in document["gallery"]["students"]}
        GalleryFile.of(MODEL, encodings.items())  # 128 finite numbers each
        gave_way = {str(sample): str(student) for sample, student in dict(document.get("gave_way", {})).items()}
        skipped, warnings = (tuple(map(str, document.get(name, ()))) for name in ("skipped", "warnings"))
    except (ValueError, KeyError, TypeError) as error:
        raise EnrolmentError(
            [f"the image's answer cannot be understood ({error!r}): build it again: make up"]
        ) from error
    return Computed(encodings, gave_way, skipped, tuple(warning.replace(_PICKLE, pickle) for warning in warnings))
