"""One file per code that `potential_speed.py` times, and what they share.

A peer's file holds `REQUIRES` (what pip installs into its environment), `VARIANTS` (its rows) and
`prepare(variant, structures, folder)`, which returns a `Prepared`. It imports its code inside its
functions only: the parent process reads these files without any of the codes.
"""
