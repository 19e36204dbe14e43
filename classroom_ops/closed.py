"""The closed environment: what a run may read from the shell, and what is set instead of the rest.

Only what stands in this file passes. `make` (``tools/closed/bash``), playbooks (vars plugin ``closed_run``), the
operator's commands and ``bin/test`` all begin here: a variable of the shell means the same for each, mostly nothing.
docs/local-machine.md shows the list to users. Standard library only, and for any Python 3.9: it runs before there is a
virtual environment, to let ``bin/setup`` say what is missing.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = "local"
UMASK = 0o022

# Of the person and the terminal.
_PERSON = (
    "HOME USER LOGNAME PATH SHELL TERM COLORTERM NO_COLOR FORCE_COLOR COLUMNS LINES TZ TMPDIR XDG_RUNTIME_DIR CI "
    "BACKUP_PASSPHRASE"
)
# The way to package indexes and mirrors, and whom to trust there.
_NETWORK = (
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE "
    "PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT PIP_CACHE_DIR PIP_DEFAULT_TIMEOUT "
    "UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INSECURE_HOST "
    "UV_NATIVE_TLS UV_CACHE_DIR"
)
# How a playbook is shown, and how a vault is opened. Nothing that decides what it does.
_ANSIBLE = (
    "ANSIBLE_VAULT_PASSWORD_FILE ANSIBLE_VAULT_IDENTITY_LIST ANSIBLE_FORCE_COLOR ANSIBLE_NOCOLOR ANSIBLE_VERBOSITY "
    "ANSIBLE_STDOUT_CALLBACK ANSIBLE_DISPLAY_OK_HOSTS ANSIBLE_DISPLAY_SKIPPED_HOSTS ANSIBLE_LOG_PATH ANSIBLE_DEBUG"
)
# make's own, and what the Makefile sets.
_MAKE = (
    "MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES MAKE_TERMOUT MAKE_TERMERR MYPY_CACHE_DIR MYPYPATH OPENBLAS_NUM_THREADS"
)
KEPT = frozenset(f"{_PERSON} {_NETWORK} {_ANSIBLE} {_MAKE}".split())
# No PYTHON*: without bytecode files Ansible is compiled in each of its processes, half a second each time; unbuffered,
# Python reads each of its modules byte by byte from a pipe; and a path of its own would hide the project's packages.
# This project's own: where tests find their data, and the two below.
OWN = "SMART_CLASSROOM_"
ENVIRONMENT = "SMART_CLASSROOM_ENVIRONMENT"
# Names of further variables to keep, separated by blanks. In `local` it opens none of `NEVER_LOCAL`.
KEEP = "SMART_CLASSROOM_KEEP"

# Where an environment is in AWS: who the caller is, by every way that AWS's own tools know. Never where the calls go.
_IN_AWS = (
    "AWS_PROFILE AWS_DEFAULT_PROFILE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ACCESS_KEY_ID "
    "AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CREDENTIAL_EXPIRATION AWS_ROLE_ARN AWS_ROLE_SESSION_NAME "
    "AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_CREDENTIALS_RELATIVE_URI "
    "AWS_CONTAINER_AUTHORIZATION_TOKEN AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_CA_BUNDLE DOCKER_HOST"
)
KEPT_IN_AWS = frozenset(_IN_AWS.split())
NEVER_LOCAL = ("AWS_", "OS_", "DOCKER_", "PYTHON")

_EVERYWHERE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
# `local` has no account, so nothing may find the credentials or endpoints of one; its containers run on this machine.
_LOCAL = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "DOCKER_HOST": "unix:///var/run/docker.sock",
    "OS_CLIENT_SECURE_FILE": os.devnull,
}

_ADDRESS = re.compile(r"^\w+:\s*(\d+\.\d+\.\d+\.\d+(?:/\d+)?)\s*(?:#.*)?$", re.MULTILINE)
_SMALLEST_PREFIX = 24


def closed(environ: Mapping[str, str], environment: str, root: Path = ROOT) -> dict[str, str]:
    """What a run of ``environment`` sees of the shell's variables. Closing twice is closing once."""
    local = environment == LOCAL
    kept = KEPT if local else KEPT | KEPT_IN_AWS
    named = {name for name in environ.get(KEEP, "").split() if not (local and name.upper().startswith(NEVER_LOCAL))}
    found = {name: text for name, text in environ.items() if name in kept or name in named or name.startswith(OWN)}
    found |= {**_EVERYWHERE, **(_LOCAL if local else {}), ENVIRONMENT: environment}
    found["ANSIBLE_CONFIG"] = str(root / "ansible.cfg")
    # Both spellings: some programs read only one of them.
    around = without_proxy(",".join(found.get(name, "") for name in ("NO_PROXY", "no_proxy")), environment, root)
    return {**found, "NO_PROXY": around, "no_proxy": around}


def without_proxy(given: str, environment: str, root: Path = ROOT) -> str:
    """The hosts that are asked without a proxy: those given, and this machine and the environment's own addresses.

    Address by address, because urllib, and so boto3 and Ansible's ``uri``, know no ranges; as ranges for those who do.
    """
    hosts = ["localhost", "127.0.0.1", "::1", "host.docker.internal"]
    for network in own_networks(environment, root):
        hosts.append(str(network))
        if network.prefixlen >= _SMALLEST_PREFIX:
            hosts += [str(address) for address in network]
    wanted = [*(part.strip() for part in given.split(",")), *hosts]
    return ",".join(dict.fromkeys(part for part in wanted if part))


def own_networks(environment: str, root: Path = ROOT) -> list[ipaddress.IPv4Network]:
    """The networks of private addresses that the inventory of ``environment`` names."""
    found: list[ipaddress.IPv4Network] = []
    for directory in ("common", environment):
        for path in sorted((root / "inventory" / directory / "group_vars/all").glob("*.yml")):
            for text in _ADDRESS.findall(path.read_text(encoding="utf-8")):
                network = ipaddress.IPv4Network(text, strict=False)
                if network.is_private and network not in found:
                    found.append(network)
    return found


def environment_of(inventories: object) -> str:
    """The environment that ``ansible-playbook -i`` names; `local`, which is the default, when none is given."""
    names = [Path(str(one)) for one in inventories] if isinstance(inventories, (list, tuple)) else []
    known = [path.resolve().name for path in names if (path.resolve().parent / "common").is_dir()]
    return known[0] if known else ("elsewhere" if names else LOCAL)


def close(environment: str) -> None:
    """Go on in the closed environment; where it differs, this process begins again with the same arguments.

    Beginning again is what makes it hold for settings that were read before, such as Python's and Ansible's own.
    """
    os.umask(UMASK)
    wanted = closed(os.environ, environment)
    if wanted != dict(os.environ):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, sys.orig_argv, wanted)  # noqa: S606 no shell is what is wanted


def run(argv: list[str]) -> None:
    """Become the program ``argv`` in the closed environment of ``SMART_CLASSROOM_ENVIRONMENT``."""
    if not argv:
        sys.exit("closed: usage: bin/closed PROGRAM [ARGUMENT ...]")
    os.umask(UMASK)
    wanted = closed(os.environ, os.environ.get(ENVIRONMENT) or LOCAL)
    try:
        os.execvpe(argv[0], argv, wanted)  # noqa: S606 the same
    except OSError as error:
        sys.exit(f"closed: cannot run {argv[0]}: {error.strerror}")
