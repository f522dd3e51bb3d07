"""A fold trained by Lightning's Trainer: pip install lightning."""

import logging
import warnings

import lightning
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # the rows are in memory


class Classifier(lightning.LightningModule):
    """A multi-layer perceptron as a LightningModule."""

    def __init__(self, inputs, outputs, hidden, dropout, lr):
        super().__init__()
        self.lr = lr
        layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
        self.network = nn.Sequential(*layers)

    def training_step(self, batch, _index):
        loss = functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _index):
        outputs = self.network(batch[0])
        self.log("loss", functional.cross_entropy(outputs, batch[1]))
        self.log("accuracy", (outputs.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class Report(lightning.Callback):
    """Passes each epoch on to winnow, for its progress and its learning curves."""

    def __init__(self, fold):
        self.fold = fold

    def on_train_epoch_end(self, trainer, _module):
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.fold.report(trainer.current_epoch + 1, trainer.max_epochs, values.pop("train_loss"), **values)


def train_fold(fold, params):
    """Train a fold; see docs/examples.md."""
    rows = fold.prepared
    module = Classifier(rows.shape[0], fold.outputs, params["hidden"], params["dropout"], params["lr"])
    trainer = lightning.Trainer(
        max_epochs=10,
        accelerator="gpu" if fold.device.type == "cuda" else "cpu",
        devices=1,
        callbacks=[Report(fold)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        module,
        DataLoader(TensorDataset(rows.train.cpu(), fold.train_target.cpu()), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(rows.validation.cpu(), fold.validation_target.cpu()), batch_size=1024),
    )
    metrics = {name: trainer.callback_metrics[name].item() for name in ("accuracy", "loss")}
    return {**metrics, "model": nn.Sequential(rows.module, module.network.to(fold.device).eval())}
