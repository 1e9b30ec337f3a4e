"""aga/campaign."""
