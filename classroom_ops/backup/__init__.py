"""One archive of what an environment knows: records, known encodings and, if wanted, results.

- ``sealed``: encryption of a stream under a passphrase
- ``archive``: the members, their checksums, the format's number
- ``copying``: from an environment into an archive and back
"""
