"""What is held about one person: found in every place, handed out, removed for good.

- ``person``: a person's names, and what a document says without them
- ``objects``: every version of every object of a bucket
- ``on_vm``, ``machines``: files and logs on the pollers' VMs
- ``places``: how long each place keeps what, asked of the place itself
- ``forget``: remove, look again, and say what is left until when
- ``access``: everything about one person in a directory
"""
