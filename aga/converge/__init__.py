"""Settings of an engine at which its answers no longer change: cutoff and k-points."""
