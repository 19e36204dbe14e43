"""What can go wrong for an operator, each with the exit code a calling script sees."""

from __future__ import annotations


class OpsError(Exception):
    """A command cannot do what was asked. The text says what happened, the likely cause and what to type next."""

    exit_code = 1


class UsageError(OpsError):
    """What was typed cannot work: nothing was sent anywhere."""

    exit_code = 2


class NotDeployedError(OpsError):
    """There is no description of a deployed environment to work on."""


class CommandError(OpsError):
    """A program on this machine or on a VM failed, was missing or took too long."""


class NoAnswerError(OpsError):
    """An upload was not answered in time, or its message was given up."""
