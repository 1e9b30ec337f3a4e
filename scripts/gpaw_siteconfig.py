"""Build settings of GPAW that need nothing but g++: no MPI, no libxc, no BLAS.

GPAW_CONFIG=$PWD/scripts/gpaw_siteconfig.py pip install 'aga-search[gpaw]'
Changing this file needs --no-cache-dir: pip's wheel cache does not see GPAW_CONFIG.
"""

mpi = False
compiler = "g++"
nolibxc = True
noblas = True
libraries = []
