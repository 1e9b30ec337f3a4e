"""A small campaign written straight into its database: EMT labels, no workers."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aga.campaign.state import Decision
from aga.campaign.store import Store
from aga.campaign.tasks import task_key
from aga.config import CampaignConfig
from aga.search.candidate import Candidate
from tests.crystals import emt_label, random_crystal

#: lattice constant at which EMT copper has no stress [Å]
RELAXED = 3.5903
REASON = "SCF not converged after 3 attempts <gaussian & co>"
LOG = "labels/ab/abcd/attempt-2/log.txt"
START = 1_700_000_000.0


def config(**changes) -> CampaignConfig:
    data = {
        "name": "copper",
        "composition": {"Cu": 4},
        "engine": {"kind": "emt"},
        "cluster": {"kind": "serial"},
        "budget": {"labels": 30, "hours": 2.0},
    }
    return CampaignConfig.model_validate({**data, **changes})


def fcc(a=RELAXED) -> Atoms:
    return bulk("Cu", "fcc", a=a, cubic=True)


def bcc() -> Atoms:
    return bulk("Cu", "bcc", a=2.95, cubic=True).repeat((2, 1, 1))


def loose(seed=1) -> Atoms:
    return random_crystal(np.random.default_rng(seed), ["Cu"] * 4)


class Campaign:
    """Writes a history, task by task; every task takes ten seconds of a made-up clock."""

    def __init__(self, run_dir, settings=None):
        run_dir.mkdir(exist_ok=True)
        self.store = Store(run_dir, settings or config())
        self.clock = START
        self.open = True

    def close_store(self):
        if self.open:
            self.store.close()
        self.open = False

    def note(self, kind, **inputs):
        self.store.plan([Decision(kind, inputs)], partial(task_key, self.store.config))

    def plan(self, kind, **inputs):
        [record] = self.store.plan([Decision(kind, inputs)], partial(task_key, self.store.config))
        return record

    def close(self, record, outcome, worker):
        meta = {"started": self.clock, "finished": self.clock + 10.0, "worker": worker}
        self.clock += 10.0
        assert self.store.record(record.ordinal, {**outcome, "meta": meta})

    def label(self, identity, atoms, *, purpose="search", worker="dft-0", stress=True, **about):
        """A label of EMT; ``about`` may replace parts of it by ``moments``."""
        candidate = Candidate(
            identity,
            atoms,
            about.get("origin", "symmetric_random"),
            (),
            about.get("predicted"),
            about.get("spread"),
        )
        record = self.plan(
            "label",
            candidate=candidate.to_dict(),
            purpose=purpose,
            raw_spread=candidate.spread,
            **({"chain": about["chain"]} if "chain" in about else {}),
        )
        label = replace(emt_label(atoms, stress=stress), **about.get("moments", {}))
        self.close(record, {"ok": {"label": label.to_dict()}}, worker)

    def fail(self, identity, atoms):
        candidate = Candidate(identity, atoms, "symmetric_random")
        record = self.plan("label", candidate=candidate.to_dict(), purpose="seed", raw_spread=None)
        failure = {"kind": "permanent", "reason": REASON, "log": LOG}
        self.close(record, {"failure": failure}, "dft-1")

    def seed(self, *structures):
        record = self.plan("seed", count=len(structures), volume_per_atom=0.0)
        made = [
            Candidate(f"s{i}", atoms, "symmetric_random").to_dict()
            for i, atoms in enumerate(structures)
        ]
        self.close(record, {"ok": {"candidates": made}}, "search-0")

    def train(self, error):
        state = self.store.state()
        references = [[one.known.id, one.key] for one in state.labelled]
        record = self.plan("train", labels=references, warm=None, pool="", calibration=[])
        facts = {
            "labels": len(references),
            "networks": len(references) > 4,
            "energy_rmse_mev_per_atom": error,
            "force_rmse_ev_per_a": 0.01 * error,
            "seconds": 1.0,
            "calibration": 1.5,
        }
        self.close(record, {"ok": {"facts": facts}}, "train-0")

    def evolve(self):
        weights = {"permute": 0.4, "symmetric_random": 0.6}
        record = self.plan("evolve", model=self.store.state().models[-1].key, weights=weights)
        tried = {"permute": [10.0, 2.0], "symmetric_random": [20.0, 8.0]}
        self.close(record, {"ok": {"candidates": [], "record": tried, "rejected": {}}}, "search-0")

    def finish(self):
        self.note("stop_search", reason="the best has not changed")
        self.note("finish", reason="the best has not changed", failed=False)


def filled(campaign):
    """Seeds, one of them failed; predictions; a twin of the best; confirmed copper on fcc."""
    campaign.seed(bcc(), loose(1), loose(2))
    campaign.label("s0", bcc(), purpose="seed")
    campaign.label("s1", loose(1), purpose="seed", worker="dft-1")
    campaign.fail("s2", loose(2))
    campaign.train(30.0)
    campaign.evolve()
    campaign.label("e0", fcc(3.62), predicted=0.05, spread=0.02, origin="permute")
    campaign.label("e1", loose(3), predicted=1.0, spread=0.3, stress=False, worker="dft-1")
    campaign.clock += 7200.0  # stopped for two hours
    campaign.train(20.0)
    campaign.evolve()
    campaign.label(
        "p0", fcc(), purpose="confirm", origin="polish", predicted=-0.006, spread=0.0, chain="e0"
    )
    return campaign


@pytest.fixture
def campaign(tmp_path):
    made = filled(Campaign(tmp_path / "run"))
    yield made
    made.close_store()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished campaign that nobody runs and nobody writes to."""
    made = filled(Campaign(tmp_path_factory.mktemp("finished") / "run"))
    made.finish()
    made.close_store()
    return made.store.run_dir


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of the finished campaign, to write to."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def empty_dir(tmp_path):
    """A campaign that has been started and has nothing yet."""
    made = Campaign(tmp_path / "empty")
    made.plan("seed", count=3, volume_per_atom=0.0)
    made.close_store()
    return made.store.run_dir
