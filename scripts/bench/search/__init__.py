"""Searches for ground states, counted by oracle calls: this program and its open peers.

Everything but `methods.aga` runs in the peers' environment too, so nothing here imports this
program at module level.
"""
