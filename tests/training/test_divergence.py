import json
import logging
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from tools.training.checkpoint import Checkpoint
from tools.training.clipping import GradientClipping
from tools.training.divergence import DivergenceCheck, first_non_finite, reject_non_finite_score
from tools.training.engine import seed_dropout
from tools.training.restore import load_network
from tools.transfer.export import export_weights
from tools.utils.errors import InputError


class Scores(Metric):
    """Metric with given values, one per epoch."""

    def __init__(self, scores):
        self.scores = list(scores)
        super().__init__(lambda output: 0)

    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        return self.scores.pop(0)


class Run:
    """A trainer with accumulation and clipping, and a non-finite gradient at a step."""

    def __init__(self, folder, val_interval=1, poison_at=None, poison=torch.nan, scores=None, losses=None):
        epochs, steps = 3, 4
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 0.01)
        scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        batches = [{"image": torch.randn(6, 4), "label": torch.randn(6, 1)} for _ in range(steps)]
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=batches[:1],
            network=self.network,
            key_val_metric={"accuracy": Scores(scores or [0.5] * epochs)},
            additional_metrics={"loss": Scores(losses or [1.0] * epochs)},
            decollate=False,
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=batches,
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            accumulation_steps=2,
            decollate=False,
            train_handlers=[GradientClipping(self.network, 1.0)],
        )
        for engine in (self.trainer, self.evaluator):
            engine.logger.setLevel(logging.ERROR)
        self.path = folder / "checkpoint.pt"
        loss, evaluator = self.trainer.loss_function, self.evaluator
        checkpoint = Checkpoint(self.path, self.network, self.optimizer, scheduler, loss, evaluator, {}, [])
        DivergenceCheck(self.network, self.optimizer, self.path).attach(self.trainer, evaluator)
        self.validated, self.best = [], []
        evaluator.add_event_handler("EPOCH_COMPLETED", reject_non_finite_score)
        evaluator.add_event_handler("EPOCH_COMPLETED", lambda e: self.best.append(e.state.best_metric_epoch))
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED(every=val_interval), self.validate)
        checkpoint.attach_save(self.trainer)
        weight = self.network[0].weight
        weight.register_hook(lambda g: g + (poison if self.trainer.state.iteration == poison_at else 0.0))

    def validate(self, engine):
        self.validated.append(engine.state.epoch)
        self.evaluator.run(engine.state.epoch)

    def saved(self):
        return torch.load(self.path, weights_only=True)["progress"]["epoch"]


@pytest.mark.parametrize("val_interval", [1, 3])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("step", [7, 8])
def test_non_finite_weights_are_neither_validated_nor_saved(tmp_path, val_interval, poison, step):
    """The loss is finite until the next step."""
    run = Run(tmp_path, val_interval=val_interval, poison_at=step, poison=poison)
    with pytest.raises(InputError) as raised:
        run.trainer.run()
    message = str(raised.value)
    assert message.startswith("weights: ")
    assert "at step 8" in message
    assert "learning rate 0.01" in message
    assert "gradient norm nan" in message
    assert "0.weight" in message
    assert f"--resume True to continue from {run.path}" in message
    assert "\n" not in message
    assert (run.saved(), run.validated) == (1, [1] if val_interval == 1 else [])


def test_non_finite_loss_is_reported_first(tmp_path):
    run = Run(tmp_path, poison_at=6)
    with pytest.raises(InputError, match=r"^loss: .*nan at step 7 .*learning rate"):
        run.trainer.run()
    assert run.saved() == 1


def check(network, optimizer):
    state = SimpleNamespace(output={"loss": torch.tensor(1.0)}, iteration=5)
    DivergenceCheck(network, optimizer, "none.pt").check_epoch(SimpleNamespace(state=state))


def stepped(network):
    optimizer = torch.optim.AdamW(network.parameters(), 0.1)
    network(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return optimizer


def test_running_statistics_and_moments_are_checked_too():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = stepped(network)
    check(network, optimizer)
    optimizer.state[network[0].weight]["exp_avg_sq"][0, 0] = torch.inf  # the weight would never change again
    with pytest.raises(InputError, match=r"^optimizer: .*exp_avg_sq"):
        check(network, optimizer)
    network[1].running_var[0] = torch.inf
    with pytest.raises(InputError, match=r"^weights: .*running_var"):
        check(network, optimizer)


def test_large_finite_values_do_not_stop_training():
    """Although their norm overflows."""
    assert first_non_finite([("a", torch.full((9,), 3e38)), ("count", torch.tensor(3)), ("none", None)]) is None
    assert first_non_finite([("a", torch.ones(3)), ("b", torch.tensor([3e38, torch.nan]))]) == "b"
    assert first_non_finite([]) is None


def test_steps_skipped_by_the_scaler_do_not_stop_training():
    network = nn.Linear(3, 1)
    optimizer, scaler = stepped(network), torch.amp.GradScaler("cpu")
    optimizer.zero_grad()
    scaler.scale(network(torch.randn(4, 3)).sum()).backward()
    network.weight.grad[0, 0] = torch.inf
    scaler.step(optimizer)
    scaler.update()
    check(network, optimizer)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([torch.nan, 0.2, 0.1], [-1, 2, 2]), ([0.2, torch.nan, 0.3], [1, 1, 3]), ([torch.nan] * 3, [-1, -1, -1])],
)
def test_non_finite_score_is_never_the_best(tmp_path, scores, best, caplog):
    run = Run(tmp_path, scores=scores)
    run.trainer.run()
    assert run.best == best
    assert (run.evaluator.state.best_metric == -1) == (best[-1] == -1)
    assert run.saved() == 3


def test_epoch_with_non_finite_validation_loss_is_not_saved(tmp_path, caplog):
    """The weights are finite, but the first loss of a resumed run would not be."""
    run = Run(tmp_path, losses=[1.0, 1.0, torch.nan])
    run.trainer.run()
    assert run.saved() == 2
    [line] = [record.message for record in caplog.records if "validation loss" in record.message]
    assert "nan: epoch 3" in line


def test_non_finite_weights_are_not_exported(tmp_path):
    network = nn.Linear(3, 1)
    export_weights(network, tmp_path / "model.pt", {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    nn.init.constant_(network.bias, torch.nan)
    with pytest.raises(InputError, match="NaN or infinity in bias"):
        export_weights(network, tmp_path / "model.pt", {})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert json.loads((tmp_path / "model.json").read_text())["sha256"]


def test_a_checkpoint_of_a_diverged_run_is_not_loaded(tmp_path):
    """Earlier versions saved them; a lower learning rate would not help."""
    network = nn.Linear(3, 1)
    weights = {"weight": torch.ones(1, 3), "bias": torch.tensor([torch.nan])}
    content = {
        "network": weights,
        "optimizer": {"state": {}, "param_groups": []},
        "loss_function": {},
        "progress": {"epoch": 1, "step": 1, "best_metric": 0.5, "best_metric_epoch": 1},
        "settings": {},
        "cases": [],
    }
    torch.save(content, tmp_path / "checkpoint.pt")
    before = network.bias.clone()
    with pytest.raises(InputError, match="NaN or infinity in bias"):
        load_network(network, tmp_path / "checkpoint.pt", {})
    assert torch.equal(network.bias, before)


def test_dropout_depends_only_on_seed_step_and_rank(monkeypatch):
    def draw(seed, step, rank):
        monkeypatch.setattr("tools.utils.distributed.rank", lambda: rank)
        torch.rand(rank + step)  # earlier draws
        seed_dropout(SimpleNamespace(state=SimpleNamespace(iteration=step)), seed)
        return nn.functional.dropout(torch.ones(64), 0.5)

    places = [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1)]
    first = [draw(*place) for place in places]
    assert all(torch.equal(one, draw(*place)) for one, place in zip(first, places, strict=True))
    assert len({tuple(one.tolist()) for one in first}) == len(places)
