#!/usr/bin/python
"""Documentation of the action plugin ``show_text``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show_text
short_description: Print text for a person, without a frame
description:
  - Prints the text as it is. Nothing is changed.
options:
  text:
    description: What to print, may have several lines.
    type: str
    required: true
notes:
  - >-
    Nearest: M(ansible.builtin.debug). C(display_ok_hosts) of ansible.cfg hides what it prints.
  - >-
    Can go: when tasks that change nothing are shown.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Show the summary
  smart_classroom.platform.show_text:
    text: "{{ summary }}"
"""

RETURN = r""" # """
