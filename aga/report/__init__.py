"""aga/report."""
