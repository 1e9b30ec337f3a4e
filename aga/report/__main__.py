"""``python -m aga.report DIR``: what a campaign leaves behind, for `aga.report.apart`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        from aga.report.finish import finish

        finish(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
