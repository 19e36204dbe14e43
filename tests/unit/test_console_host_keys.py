"""Host keys come from the console and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from ansible_collections.smart_classroom.platform.plugins.modules import console_host_keys
from ansible_collections.smart_classroom.platform.plugins.modules.console_host_keys import host_keys, wait_for_keys


def public_key(kind: str, length: int = 32) -> str:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + length.to_bytes(4, "big") + bytes(range(length))
    return f"{kind} {base64.b64encode(blob).decode()}"


KEY = public_key("ssh-ed25519")
OTHER = public_key("ecdsa-sha2-nistp256", 73)


def block(*lines: str) -> str:
    return "\n".join(["-----BEGIN SSH HOST KEY KEYS-----", *lines, "-----END SSH HOST KEY KEYS-----", ""])


@pytest.mark.parametrize(
    ("console", "keys"),
    [
        ("", []),
        ("boot\n-----BEGIN SSH HOST KEY KEYS-----\n" + KEY, []),  # the block is not complete yet
        (f"boot\n{block(KEY + ' root@vm', OTHER + ' root@vm')}login:", [OTHER, KEY]),
        (block(OTHER) + "reboot\n" + block(KEY), [KEY]),  # the last boot counts
        (block(f"[   31.2] cloud-init[612]: {KEY} root@vm"), [KEY]),
        (block(KEY[:40], "ssh-ed25519 AAAAnonsense"), []),  # torn by another message
        (block(KEY.replace("ssh-ed25519", "ssh-rsa")), []),  # says one kind, is another
    ],
)
def test_only_complete_keys_of_the_last_block_count(console: str, keys: list[str]) -> None:
    assert host_keys(console) == keys


def test_a_guest_that_is_still_booting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_host_keys, "POLL_SECONDS", 0.0)
    consoles: Iterator[str] = iter(["", "GRUB", f"boot\r\n{block(KEY)}"])
    assert wait_for_keys(lambda: next(consoles), 60)["host_keys"] == [KEY]


def test_a_guest_that_shows_no_keys_is_never_trusted_and_its_console_is_shown() -> None:
    answer = wait_for_keys(lambda: "\n".join(f"line {number}" for number in range(40)) + "\nKernel panic", 0)
    assert answer["host_keys"] == []
    assert answer["tail"][-1] == "Kernel panic"
    assert len(answer["tail"]) == console_host_keys.TAIL_LINES
