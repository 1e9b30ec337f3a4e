"""What to try: pure algorithms over structures; no files, no Dask."""
