"""Potentials without a campaign: train on a file, measure errors on a file, convert."""
