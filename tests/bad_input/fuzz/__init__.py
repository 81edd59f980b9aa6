"""Mutated files, thousands of them, against everything that reads files.

``python -m tests.bad_input.fuzz --count 200`` runs all targets, prints what came of it, and fails
on a crash or on bad input that was silently accepted. What each of these is:

- *bad*: an oracle written for the tests, which shares no code with the readers, says that the file
  breaks its format (see :mod:`tests.bad_input.fuzz.oracle`). A mutation may leave a file valid.
- *refused*: the reader raised an error of ours (``XqgError``).
- *accepted*: it did not, and all records that it made pass the oracle's check of records.
- *silently accepted*: it did not, although the file is bad, or it made a bad record.
- *crash*: any other exception, a signal, or no end within the time allowed.
"""
