"""Parameters of FIRE, shared by both forms of the relaxation.

Bitzek et al., PRL 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201; steps as in ASE.
"""

START_STEP, LARGEST_STEP, LONGEST_MOVE = 0.3, 1.0, 0.2
MIXING, MIXING_DECAY = 0.1, 0.99
GROW, SHRINK, PATIENCE = 1.1, 0.5, 5
#: a cell lower than the cutoff over this number is not evaluated: it has too many images
MOST_IMAGES = 20.0
