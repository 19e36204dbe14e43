#!/usr/bin/python
"""Documentation of the action plugin ``long_task``; all of its work is done on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: long_task
short_description: Run a long command on the controller as a job that shows its phases and survives the playbook
description:
  - Starts a command detached from the playbook run, or follows it to its end while printing its phase and the time.
  - >-
    A job that runs already is attached to if it makes the same thing, so a build that was started early, or by a run
    that was interrupted, is not started twice; one that makes something else is ended first. A line C(phase: text) in
    the command's output names the phase.
  - The task always runs the command; guard it with C(when) on what the command makes.
options:
  name:
    description: Name of the job and of its directory.
    type: str
    required: true
  argv:
    description: The command. Required unless O(state=stopped).
    type: list
    elements: str
  environment:
    description: Variables added to the command's environment.
    type: dict
    default: {}
  chdir:
    description: Working directory.
    type: path
  content:
    description:
      - What the command makes, where its arguments do not say it, such as the name of an image that bears a hash. A
        running job is attached to only if this, O(argv), O(environment) and O(chdir) are the same.
    type: str
    default: ""
  state:
    description: V(started) returns at once, V(finished) waits, V(stopped) ends a running job.
    type: str
    choices: [started, finished, stopped]
    default: finished
  directory:
    description: Where jobs are kept. The default is C({{ smart_classroom_state_dir }}/jobs).
    type: path
  timeout_seconds:
    description: How long V(finished) waits. The job goes on after that.
    type: int
    default: 1800
  interval_seconds:
    description: Longest time without a line of progress.
    type: int
    default: 15
notes:
  - >-
    Nearest: C(async) with M(ansible.builtin.async_status). It shows nothing until the end, and its job's id
    is lost with the run.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Build the image of the private cloud beside the other plays
  smart_classroom.platform.long_task:
    name: openstack-image
    argv: [build-image, --output, cloud.tar]
    state: started
"""

RETURN = r"""
log:
  description: File with the command's output.
  type: str
  returned: when it was started or followed
stdout_lines:
  description: Last lines of the output.
  type: list
  returned: when it was started or followed
"""
