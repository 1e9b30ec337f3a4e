"""Crystal-structure search with an adaptive genetic algorithm, ensembles of potentials and DFT."""

__version__ = "0.1.0"
