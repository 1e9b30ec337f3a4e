"""One file per search method; each has a function ``search(run)``."""
