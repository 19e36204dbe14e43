"""Command line: ``python -m classroom_ops [--environment NAME] COMMAND ...``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from classroom_ops import (
    chaos,
    cost,
    drift,
    environment,
    environments,
    logs,
    monitor,
    redrive,
    status,
    students,
    trace,
    upload,
    verify,
    workload,
)
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.backup import copying
from classroom_ops.backup.passphrase import passphrase
from classroom_ops.commands import one_connection
from classroom_ops.console import info, print_data, show, size
from classroom_ops.environment import Endpoints
from classroom_ops.errors import OpsError, UsageError
from classroom_ops.privacy import access, forget

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="classroom_ops", description=__doc__.partition("\n")[0], allow_abbrev=False)
    top.add_argument(
        "--environment",
        default="local",
        help="the environment below inventory/ (default: %(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    one = commands.add_parser("upload", help="upload a video, wait for its answer, print the CSV")
    one.add_argument("video", help="a video file, MP4 or MOV")
    one.add_argument("--key", help="its name in the bucket (default: the name of the file)")
    one.add_argument("--timeout", type=_seconds, default=120.0, metavar="S", help="seconds to wait (default: 120)")

    many = commands.add_parser("workload", help="upload many clips with known answers and check every answer")
    many.add_argument("--count", type=int, default=100, metavar="N", help="how many clips (default: 100)")
    many.add_argument("--seed", type=int, default=0, help="decides the order of the clips (default: 0)")
    many.add_argument("--rate", type=float, default=0.0, help="uploads per second, 0: as fast as possible (default: 0)")
    many.add_argument("--timeout", type=_seconds, metavar="S", help="seconds after which an answer is late")
    many.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")
    many.add_argument("--keep", action="store_true", help="leave the clips and their results where they are")

    who = commands.add_parser("students", help="who is enrolled")
    who.add_argument("--class", dest="class_name", metavar="CLASS", help="of this class only")
    who.add_argument("--json", action="store_true", help="the same for programs")

    screen = commands.add_parser("status", help="one screen: is every part healthy?")
    screen.add_argument("--json", action="store_true", help="the same for programs")

    commands.add_parser("monitor", help="open the page of figures and alerts on this machine until Ctrl-C")

    proof = commands.add_parser("verify", help="send one clip through the whole system and compare every trace of it")
    proof.add_argument("--depth", choices=("quick", "full"), default="quick", help="full: every kind of answer")
    proof.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")

    fault = commands.add_parser("chaos", help="break one part on purpose and watch it get well")
    fault.add_argument("kind", help=", ".join(chaos.KINDS))
    fault.add_argument("--confirm", default="", help="name of the environment, where it is not local")
    fault.add_argument("--on", metavar="VM", help="which poller is hit (default: the first)")
    fault.add_argument(
        "--seconds", type=int, default=chaos.SECONDS, metavar="S", help="how long (default: %(default)s)"
    )

    commands.add_parser("environments", help="all environments, one line each")

    bill = commands.add_parser("cost", help="what this month has cost so far, by the environment's tags")
    bill.add_argument("--project", required=True, help="value of the tag project")

    commands.add_parser("drift", help="what differs from the desired state: exit 2 when something does, 0 when nothing")

    again = commands.add_parser("redrive", help="show the dead letters and move them back into their queues")
    again.add_argument("--key", help="only those about this video")
    again.add_argument("--dry-run", action="store_true", help="show them and move nothing")

    one = commands.add_parser("trace", help="one video through both clouds, each step with its time")
    one.add_argument("key", help="its name in the bucket")

    version = commands.add_parser("prove-function", help="have one version of the function answer a clip")
    version.add_argument("--qualifier", required=True, help="number of the version, or an alias")
    version.add_argument("--media", type=Path, default=workload.MEDIA, help="directory with clips and answers.json")

    archive = commands.add_parser("logs", help="collect all logs in one archive, without secrets and students' names")
    archive.add_argument("--key", help="no archive: only print the lines about this video")
    archive.add_argument("--output", metavar="FILE", help="the archive (default: below .state/<environment>/logs/)")
    _add_data_commands(commands)
    return top


def _add_data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What saves, restores, hands out and removes data of students."""
    save = commands.add_parser("backup", help="write records, known encodings and, if wanted, results into an archive")
    save.add_argument("--to", default="", metavar="DIR", help="directory (default: .state/<environment>/backups)")
    save.add_argument("--results", **_SWITCH, help="true: the results, too")
    back = commands.add_parser("restore", help="bring an archive's records, known encodings and results back")
    back.add_argument("archive", type=Path, help="what `backup` wrote")
    back.add_argument("--confirm", default="", help="the environment's name, where something there would be lost")
    back.add_argument("--dry-run", **_SWITCH, help="true: show what would change, and change nothing")
    for one in (save, back):
        one.add_argument("--passphrase-file", default="", help="holds the passphrase (else BACKUP_PASSPHRASE, if set)")

    gone = commands.add_parser("forget", help="remove everything about one student, and say what is left until when")
    gone.add_argument("--videos", **_SWITCH, help="true: the uploaded videos in which they were seen, too")
    gone.add_argument("--dry-run", **_SWITCH, help="true: show what would be removed, and remove nothing")
    held = commands.add_parser("subject-access", help="collect everything that is held about one student")
    held.add_argument(
        "--to", default="", metavar="DIR", help="directory (default: .state/<environment>/subject-access)"
    )
    for one in (gone, held):
        one.add_argument("student", help="the name, as in the list of students")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 not, 2 typed wrongly or drifted, 130 interrupted."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    endpoints = None
    try:
        if options.command == "environments":
            show(environments.table(), stderr=False)
            return 0
        if options.command == "drift":  # of an environment that is not deployed everything differs
            return drift.run(options.environment)
        endpoints = environment.load(options.environment)
        return _COMMANDS[options.command](endpoints, options)
    except OpsError as error:
        info(f"error: {error}")
        return error.exit_code
    except AwsFailure as error:
        info(f"error: {explain(error, endpoints) if endpoints else error}")
        return 1
    except KeyboardInterrupt:
        info("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a person is told what to do; whoever mends it finds the rest in the file
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        info(f"error: {options.command} met something that it does not know ({told}){_kept(error)}: run make status")
        return 1


def _upload(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        text = upload.run(Aws(connected), options.video, options.key, options.timeout)
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _workload(endpoints: Endpoints, options: argparse.Namespace) -> int:
    media, count, seed, rate, timeout = options.media, options.count, options.seed, options.rate, options.timeout
    with one_connection(endpoints) as connected:
        return workload.run(Aws(connected), media, count, seed, rate, timeout, keep=options.keep)


def _students(endpoints: Endpoints, options: argparse.Namespace) -> int:
    found = students.listed(Aws(endpoints), options.class_name)
    if options.json:
        document = students.document(endpoints.environment, options.class_name, found)
        print_data(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show(students.screen(found), stderr=False)
    return 0


def _status(endpoints: Endpoints, options: argparse.Namespace) -> int:
    parts = status.gather(endpoints, status.probes(endpoints))
    if options.json:
        print_data(json.dumps(status.document(endpoints, parts), indent=2))
    else:
        show(status.screen(endpoints, parts), stderr=False)
    return 0 if status.is_healthy(parts) else 1


def _verify(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints, kept=True) as connected:
        for line in verify.run(Aws(connected), options.media, full=options.depth == "full"):
            print_data(line)
    return 0


def _monitor(endpoints: Endpoints, _: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        ways = []
        for host in endpoints.pollers:
            address, process = stack.enter_context(monitor.opened(endpoints, host))
            print_data(f"{host}  {address}")
            ways.append(process)
        info("open until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            monitor.wait(ways)
    return 0


def _logs(endpoints: Endpoints, options: argparse.Namespace) -> int:
    if options.key:
        with one_connection(endpoints) as connected:
            trace.lines(Aws(connected), options.key)
        return 0
    path, length, missing = logs.make(endpoints, options.output)
    for name in missing:
        info(f"not collected: {name}")
    info(f"{size(length)}, secrets and names of students taken out:")
    print_data(str(path))
    return 0


def _prove_function(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints, kept=True) as connected:
        print_data(verify.prove_function(Aws(connected), options.media, options.qualifier))
    return 0


def _chaos(endpoints: Endpoints, options: argparse.Namespace) -> int:
    chaos.run_chaos(endpoints, options.kind, options.confirm, options.on, options.seconds)
    return 0


def _cost(endpoints: Endpoints, options: argparse.Namespace) -> int:
    said, bill = cost.actual(Aws(endpoints), options.project)
    for line in said:
        print_data(line)
    if bill is not None:
        show(bill, stderr=False)
    return 0


def _trace(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        trace.run(Aws(connected), options.key)
    return 0


def _redrive(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        redrive.run(Aws(connected), options.key, dry_run=options.dry_run)
    return 0


def _backup(endpoints: Endpoints, options: argparse.Namespace) -> int:
    secret = passphrase(options.passphrase_file)
    path = copying.target_of(endpoints, options.to, encrypted=bool(secret))
    for line in copying.back_up(Aws(endpoints), path, secret, results=options.results, progress=info):
        info(line)
    print_data(str(path))
    return 0


def _restore(endpoints: Endpoints, options: argparse.Namespace) -> int:
    secret, aws = passphrase(options.passphrase_file), Aws(endpoints)
    planned = copying.plan(aws, options.archive, secret)
    for line in planned.lines():
        info(line)
    if options.dry_run:
        info("nothing was changed")
        return 0
    if planned.destroys and options.confirm != endpoints.environment:
        raise UsageError(
            f"what is there would be overwritten or removed, as listed above; nothing was changed. If that is wanted: "
            f"make restore FROM=… CONFIRM={endpoints.environment}; a backup of it first: make backup"
        )
    copying.restore(aws, options.archive, secret, planned, progress=info)
    info("restored. Who was forgotten after the backup was made is there again: forget them once more (make forget)")
    return 0


def _forget(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        done = forget.forget(
            Aws(connected), options.student, videos=options.videos, dry_run=options.dry_run, progress=info
        )
    for line in done.lines():
        print_data(line)
    return 1 if done.problems else 0


def _subject_access(endpoints: Endpoints, options: argparse.Namespace) -> int:
    with one_connection(endpoints) as connected:
        directory, index = access.collect(Aws(connected), options.student, options.to, progress=info)
    for line in index:
        info(line)
    print_data(str(directory))
    return 0


_COMMANDS = {
    "upload": _upload,
    "workload": _workload,
    "students": _students,
    "status": _status,
    "students": _students,
    "logs": _logs,
    "verify": _verify,
    "redrive": _redrive,
    "trace": _trace,
    "cost": _cost,
    "chaos": _chaos,
    "prove-function": _prove_function,
    "monitor": _monitor,
    "backup": _backup,
    "restore": _restore,
    "forget": _forget,
    "subject-access": _subject_access,
}


def _switch(text: str) -> bool:
    """What somebody typed who wanted to be careful must not be taken for the opposite."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: true or false")
    return text == "true"


_SWITCH: dict[str, Any] = {"type": _switch, "default": False, "metavar": "true|false"}


def _kept(error: Exception) -> str:
    """Write the traceback to a file of its own; returns where, for the end of a sentence."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="smart-classroom-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return ""
    return f", details are in {name}"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"{text} s: more than 0, less than a day")
    return value


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
