"""Students as schools have them: lists and photos in many forms become records and known encodings.

- ``rosters``: a list of students, from CSV, XLSX or JSON
- ``encodings_of_text``: in which encoding a text was written
- ``photos``: pictures of many kinds become upright JPEGs of bounded size
- ``owners``: which student a photo belongs to, by its name or its folder
- ``store``: records in the table, known encodings in the bucket
- ``computing``: the encodings, computed in a container of the function's image
- ``enrol``: all of it together; ``python -m classroom_ops.enrolment`` is its command line

Whatever a person has to correct is collected and told at once, each with its file, its place and what to do.
"""
