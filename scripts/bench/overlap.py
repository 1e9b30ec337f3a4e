"""What overlap gains: the same campaign with search, labels and training at once, and in turns.

Prints, for both: labels per minute, and the share of the time that each pool's workers were busy.
The engine is CHGNet, whose labels take seconds because every child loads it, as a small DFT would.

    python scripts/bench/overlap.py --labels 30
"""

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from aga.campaign import loop, tasks
from aga.campaign.store import Store
from aga.config import load, resolved
from aga.report.timeline import intervals, utilisation
from calculators.pools import Pools
from calculators.publish import publish_json

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "configs" / "campaigns" / "silicon_chgnet.yaml"


def campaign(labels, *, overlap):
    """One campaign that spends exactly its budget; what its workers did."""
    shipped = load(CAMPAIGN)
    config = shipped.model_copy(
        update={
            "overlap": overlap,
            "search": shipped.search.model_copy(update={"batch": 4}),
            "budget": shipped.budget.model_copy(update={"labels": labels, "confirm_reserve": 0}),
            "stop": shipped.stop.model_copy(update={"patience_labels": labels}),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        publish_json(Path(folder) / tasks.CONFIG, resolved(config))
        store = Store(Path(folder), config)
        started = time.perf_counter()
        with Pools(config.cluster, partial(tasks.run, folder)) as pools:
            state = loop.run(store, pools, lambda *_: None)
        seconds = time.perf_counter() - started
        busy = {pool: share for pool, (_, share) in utilisation(intervals(state)).items()}
        store.close()
    return {
        "overlap": overlap,
        "labels": state.oracle_calls,
        "seconds": round(seconds, 1),
        "labels_per_minute": round(60 * state.oracle_calls / seconds, 2),
        "busy_percent": {pool: round(share, 1) for pool, share in busy.items()},
    }


def main():
    """Run both and print one JSON object each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=30)
    options = parser.parse_args()
    rows = [campaign(options.labels, overlap=overlap) for overlap in (False, True)]
    for row in rows:
        print(json.dumps(row))
    gain = rows[1]["labels_per_minute"] / rows[0]["labels_per_minute"]
    print(f"overlap labels {gain:.2f} times as many structures a minute", file=sys.stderr)


if __name__ == "__main__":
    main()
