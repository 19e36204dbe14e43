"""Settings of a shell, of each kind that people have, under which a run must do what it does without them."""

from __future__ import annotations

from pathlib import Path

CONFIG = """\
[default]
region = eu-central-1
endpoint_url = {trap}
credential_process = touch {directory}/credential-process-ran
services = elsewhere
ca_bundle = /nonexistent
[services elsewhere]
s3 =
  endpoint_url = {trap}
sts =
  endpoint_url = {trap}
"""
CREDENTIALS = "[default]\naws_access_key_id = AKIAOFANOTHERACCOUNT\naws_secret_access_key = not-a-secret\n"
CLOUDS = """\
clouds:
  smart-classroom:
    auth: {{auth_url: "{trap}", username: x, password: x, project_name: x}}
"""


def settings(directory: Path, trap: str) -> dict[str, dict[str, str]]:
    """Sets of variables by name. Whatever they lead to is `trap`, a URL; files are made in `directory`."""
    home = directory / "a home"
    for path, text in (
        (home / ".aws/config", CONFIG),
        (home / ".aws/credentials", CREDENTIALS),
        (home / ".config/openstack/clouds.yaml", CLOUDS),
        (home / ".docker/config.json", '{{"currentContext": "elsewhere"}}'),
        (directory / "ansible.cfg", "[defaults]\ninventory = /nonexistent\nstrategy = free\nvars_plugins_enabled =\n"),
        (directory / "shadow/boto3.py", "raise RuntimeError('planted')\n"),
        (directory / "startup.py", "raise RuntimeError('planted')\n"),
        (directory / "bash_env", f"touch {directory}/bash-env-ran\n"),
        (directory / "odd tmp/keep", ""),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(trap=trap, directory=directory), encoding="utf-8")
    aws = home / ".aws"
    return {
        "profile": {"AWS_PROFILE": "work"},
        "default profile": {"AWS_DEFAULT_PROFILE": "work"},
        "home with an AWS configuration": {"HOME": str(home)},
        "AWS configuration": {"AWS_CONFIG_FILE": str(aws / "config")},
        "AWS credentials file": {"AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials"), "AWS_PROFILE": "default"},
        "keys of an account": {"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x"},
        "endpoint": {"AWS_ENDPOINT_URL": trap},
        "endpoints of services": {
            f"AWS_ENDPOINT_URL_{name}": trap for name in ("S3", "SQS", "STS", "LAMBDA", "DYNAMODB")
        },
        "ignored endpoints": {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        "certificates": {"AWS_CA_BUNDLE": "/nonexistent"},
        "region": {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_REGION": "eu-central-1"},
        "web identity": {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "startup.py"),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
            "AWS_ENDPOINT_URL_STS": trap,
        },
        "container credentials": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": trap},
        "metadata service": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": trap, "AWS_EC2_METADATA_DISABLED": "false"},
        "other AWS habits": {
            "AWS_USE_FIPS_ENDPOINT": "true",
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "AWS_MAX_ATTEMPTS": "x",
        },
        "monitoring": {"AWS_CSM_ENABLED": "true", "AWS_CSM_PORT": trap.rpartition(":")[2]},
        "proxies": dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), trap),
        "proxies in small letters": dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), trap),
        "proxy and exceptions": {"http_proxy": trap, "no_proxy": "example.org", "NO_PROXY": "example.net"},
        "cloud": {"OS_CLOUD": "elsewhere"},
        "cloud of variables": {"OS_AUTH_URL": trap, "OS_USERNAME": "x", "OS_PASSWORD": "x", "OS_PROJECT_NAME": "x"},
        "other clouds.yaml": {"OS_CLIENT_CONFIG_FILE": str(home / ".config/openstack/clouds.yaml")},
        "Ansible's configuration": {"ANSIBLE_CONFIG": str(directory / "ansible.cfg")},
        "Ansible's inventory": {"ANSIBLE_INVENTORY": "/nonexistent"},
        "Ansible's ways": {"ANSIBLE_ROLES_PATH": "/nonexistent", "ANSIBLE_COLLECTIONS_PATH": "/nonexistent"},
        "Ansible's habits": {"ANSIBLE_STRATEGY": "free", "ANSIBLE_CHECK_MODE_MARKERS": "x", "ANSIBLE_BECOME": "true"},
        "Python's path": {"PYTHONPATH": str(directory / "shadow")},
        "Python's home": {"PYTHONHOME": "/nonexistent"},
        "Python's startup": {
            "PYTHONSTARTUP": str(directory / "startup.py"),
            "PYTHONINSPECT": "",
            "PYTHONWARNINGS": "error",
        },
        "bash's startup": {"BASH_ENV": str(directory / "bash_env"), "ENV": str(directory / "bash_env")},
        "Docker's host": {"DOCKER_HOST": trap.replace("http", "tcp")},
        "Docker's context": {
            "DOCKER_CONTEXT": "elsewhere",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": "/nonexistent",
        },
        "no locale": {"LC_ALL": "C", "LANG": ""},
        "a locale that is not there": {"LC_ALL": "xx_YY.UTF-8", "LANG": "xx_YY"},
        "zone": {"TZ": "Nowhere/Land"},
        "temporary files": {"TMPDIR": str(directory / "odd tmp")},
        "another environment": {"ENVIRONMENT": "prod", "SMART_CLASSROOM_ENVIRONMENT": "prod"},
        "git's place": {"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/nonexistent"},
        "kept by name": {
            "SMART_CLASSROOM_KEEP": "AWS_ENDPOINT_URL OS_CLOUD",
            "AWS_ENDPOINT_URL": trap,
            "OS_CLOUD": "x",
        },
    }


def groups(sets: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """The sets, put together as far as they do not contradict one another."""
    made: list[dict[str, str]] = []
    for values in sets.values():
        fitting = next((one for one in made if one | values == values | one), None)
        if fitting is None:
            made.append(fitting := {})
        fitting.update(values)
    return made
