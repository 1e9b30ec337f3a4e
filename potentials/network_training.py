"""Training of all members' networks at once: the loop, its optimisers, its stop and its memory.

Every member has its own held-out labels and keeps its own best state. No network at all is the
first candidate of every member, so that networks never make a held-out error worse.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potentials.best_state import Best, silent
from potentials.checkpoint import Checkpoint
from potentials.loss import focal_weights, learning_rate, prefactors
from potentials.network import Networks
from potentials.progress import NO_HOOKS, Hooks, Progress
from potentials.replay import Draws
from potentials.residual import Part
from potentials.spec import LossWeights, NetworkSpec

#: the held-out error is looked at about so many times in a training
LOOKS = 25


@dataclass(frozen=True, eq=False, slots=True)
class Problem:
    """What networks are trained on: F labels, for K members.

    Attributes:
        parts: all labels, in parts that make a step each.
        train: how much each member counts each label in training (K, F).
        check: the same for its held-out error (K, F).
        loss: weights of energies, forces and virials at the end.
        new: labels that the networks to start from have not seen (F,), or None; they share no
            part with others.
    """

    parts: Sequence[Part]
    train: Tensor
    check: Tensor
    loss: LossWeights
    new: Tensor | None = None

    def draws(self, share: float) -> Draws:
        """What an epoch looks at where new labels are to make up a share of it."""
        new = torch.zeros_like(self.train[0], dtype=torch.bool) if self.new is None else self.new
        sizes = [len(part.index) for part in self.parts]
        return Draws.of(sizes, [bool(new[part.index].any()) for part in self.parts], share)


def fold_of(ids: Sequence[str], folds: int) -> Tensor:
    """The fold of each label for cross-validation, decided by the id alone (F,)."""
    return torch.tensor([int(_draw("fold", name) * folds) for name in ids])


def _draw(purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on nothing but the two names."""
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def kept_out(ids: Sequence[str], members: int, share: float) -> Tensor:
    """Which labels each member does not train on (K, F).

    Decided by the id alone, so that a label held out once stays so in every retraining and a warm
    start never knows it.
    """
    return torch.tensor([[_draw(str(k), name) < share for name in ids] for k in range(members)])


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """What a training gave.

    Attributes:
        networks: each member's with its lowest held-out error.
        gained: whether any member gained by training.
        learned: further parameters that were trained, at their best.
    """

    networks: Networks
    gained: bool
    learned: list[Tensor]


def train_networks(training: "Training", hooks: Hooks = NO_HOOKS) -> Trained:
    """Run a training to its end, from a checkpoint where there is one of the same training."""
    path = hooks.checkpoint
    memory = None if path is None else Checkpoint(path, training.fingerprint())
    if memory is not None and (state := memory.load()) is not None:
        training.restore(state)
    while not training.ended:
        training.run_epoch()
        if training.looked:
            hooks.tell(training.progress())
        if memory is not None and memory.due():
            memory.save(training.state())
    if memory is not None:
        memory.remove()
    best = training.best
    return Trained(best.networks, best.gained, best.learned)


class Training:
    """The state of a training between two epochs.

    Args:
        settings: of the networks.
        problem: the labels and their weights; with ``batch: null`` all parts make one step, and
            none is left out or repeated.
        networks: to start from; not changed.
        rng: order of the parts.
        learned: further parameters, trained in place with the networks.
    """

    def __init__(
        self,
        settings: NetworkSpec,
        problem: Problem,
        networks: Networks,
        rng: np.random.Generator,
        learned: Sequence[Tensor] = (),
    ) -> None:
        self.settings, self.problem, self.parts = settings, problem, problem.parts
        self.networks, self.rng, self.learned = copy.deepcopy(networks), rng, list(learned)
        self.draws = problem.draws(0.0 if settings.batch is None else settings.replay)
        self.per_epoch = 1 if settings.batch is None else len(self.draws)
        self.epochs = max(1, min(settings.epochs, settings.steps // self.per_epoch))
        self.every = max(1, self.epochs // LOOKS)
        self.epoch, self.train_loss, self.looked = 0, float("nan"), False
        trained = [*self.networks.parameters(), *self.learned]
        self.optimiser = _optimiser(settings, trained)
        self.focal = torch.ones_like(problem.train)
        total = problem.train.sum(dim=1, keepdim=True).clamp(min=1e-12)
        self.share = problem.train / total
        nothing = silent(networks)
        self.best = Best(nothing, self.learned, self.held_out_error(nothing))

    @property
    def error(self) -> float:
        """Lowest held-out errors so far, mean over members."""
        return float(self.best.error.nanmean())

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or no member has gained for too long."""
        waited = self.epoch - self.best.last_gain
        return self.epoch >= self.epochs or waited > max(self.settings.patience, 2 * self.every)

    def progress(self) -> Progress:
        """How far it is."""
        return Progress("networks", self.epoch, self.epochs, self.train_loss, self.error)

    def run_epoch(self) -> None:
        """About as many labels as there are, and a look at the held-out error where it is due."""
        order = self.draws.epoch(self.rng)
        losses = torch.zeros_like(self.focal)
        if self.settings.batch is None:
            self._step(self.parts, losses, self.epoch)
        else:
            for count, place in enumerate(order):
                self._step([self.parts[place]], losses, self.epoch * self.per_epoch + count)
        self._note(losses, order)
        self.epoch += 1
        self.looked = self.epoch % self.every == 0 or self.epoch == self.epochs
        if self.looked:
            error = self.held_out_error(self.networks)
            self.best.look(self.epoch, self.networks, self.learned, error)

    def _note(self, losses: Tensor, order: NDArray[np.int64]) -> None:
        """Take the losses (K, F) on the parts of an epoch for the weights of the next."""
        seen = torch.zeros_like(self.focal, dtype=torch.bool)
        for place in order:
            seen[:, self.parts[place].index] = True
        share = self.share * seen
        self.train_loss = float((share * losses).sum() / share.sum().clamp(min=1e-12))
        focal = focal_weights(losses, self.settings.focal_gamma, self.problem.train * seen)
        self.focal = torch.where(seen, focal, self.focal)

    def _step(self, parts: Sequence[Part], losses: Tensor, step: int) -> None:
        """One optimiser step on some parts; their losses are noted in ``losses`` (K, F)."""
        settings = self.settings
        rate = learning_rate(
            step, self.epochs * self.per_epoch, settings.learning_rate, settings.learning_rate_end
        )
        for group in self.optimiser.param_groups:
            group["lr"] = 1.0 if settings.optimiser == "lbfgs" else rate
        goal = self.problem.loss
        now = prefactors(rate, settings.learning_rate, settings.prefactor_start, goal)
        # a line search must not see the loss change between its evaluations
        now = goal if settings.optimiser == "lbfgs" else now

        def evaluate() -> float:
            self.optimiser.zero_grad()
            total = settings.weight_penalty * self.networks.penalty().sum()
            total.backward()
            for part in parts:
                found = part.losses(self.networks, now)
                losses[:, part.index] = found.detach().to(losses)
                weight = self.share[:, part.index] * self.focal[:, part.index]
                own = (weight * found).sum() * (len(self.parts) / len(parts))
                own.backward()
                total = total.detach() + own.detach()
            return float(total)

        self.optimiser.step(evaluate)

    def held_out_error(self, networks: Networks) -> Tensor:
        """Weighted mean loss on the held-out labels of each member (K,); NaN where it has none."""
        check = self.problem.check
        total = torch.zeros_like(check[:, 0])
        with torch.no_grad():
            for part in self.parts:
                if bool((check[:, part.index] > 0).any()):
                    found = part.losses(networks, self.problem.loss)
                    total += (found * check[:, part.index]).sum(dim=1)
        return total / check.sum(dim=1)

    def fingerprint(self) -> str:
        """What a checkpoint must have in common with this training.

        Of the labels themselves only the error without networks is known here; two sets of labels
        that differ do not have it in common.
        """
        problem = self.problem
        about = [self.settings.model_dump_json(), problem.loss.model_dump_json(), len(self.parts)]
        errors = [f"{error:.5g}" for error in self.best.error.tolist()]
        digest = hashlib.sha256(repr([*about, errors]).encode())
        for weights in (problem.train, problem.check, problem.new):
            digest.update(b"" if weights is None else weights.cpu().numpy().tobytes())
        return digest.hexdigest()

    def state(self) -> dict[str, Any]:
        """All that changes, as plain data and tensors."""
        return {
            "networks": self.networks.state_dict(),
            "learned": [values.detach().clone() for values in self.learned],
            "optimiser": self.optimiser.state_dict(),
            "best": self.best.state(),
            "focal": self.focal,
            "epoch": self.epoch,
            "rng": repr(self.rng.bit_generator.state),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        import ast

        self.networks.load_state_dict(state["networks"])
        with torch.no_grad():
            for mine, kept in zip(self.learned, state["learned"], strict=True):
                mine.copy_(kept)
        self.optimiser.load_state_dict(state["optimiser"])
        self.best.restore(state["best"])
        self.focal, self.epoch = state["focal"].to(self.focal), int(state["epoch"])
        self.rng.bit_generator.state = ast.literal_eval(state["rng"])


def _optimiser(settings: NetworkSpec, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    rate = settings.learning_rate
    if settings.optimiser == "lbfgs":
        return torch.optim.LBFGS(parameters, history_size=30, line_search_fn="strong_wolfe")
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adamax": torch.optim.Adamax,
        "rmsprop": torch.optim.RMSprop,
        "rprop": torch.optim.Rprop,
        "asgd": torch.optim.ASGD,
        "adadelta": torch.optim.Adadelta,
        "sgd": torch.optim.SGD,
    }
    return kinds[settings.optimiser](parameters, lr=rate)
