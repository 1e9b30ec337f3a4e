"""Environment of every worker and of the programs it starts."""

MEMORY = {
    # glibc hands every array of some size back to the system and asks for it again at the next
    # step, Dask's own default even more so; on a virtual machine the page faults cost as much as
    # the work
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


def threads(count: int) -> dict[str, str]:
    """How many threads numerical libraries may start."""
    return {f"{name}_NUM_THREADS": str(count) for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
