"""A training loop in plain PyTorch: mixup, an average of the weights, and one's own report after every epoch."""

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

EPOCHS = 20


def train_fold(fold, params):
    """Train a fold; see docs/examples.md."""
    rows = fold.prepared
    network = build(rows.shape[0], params["width"], fold.outputs).to(fold.device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    optimizer = torch.optim.AdamW(network.parameters(), lr=params["lr"])
    target = functional.one_hot(fold.train_target, fold.outputs).float()
    for epoch in range(1, EPOCHS + 1):
        network.train()
        losses = []
        for batch in torch.randperm(len(target), device=fold.device).split(64):
            # mixup (Zhang et al. 2018): rows between two rows, with the target between theirs
            other, share = batch[torch.randperm(len(batch), device=fold.device)], 0.8 + 0.2 * torch.rand(1).item()
            loss = functional.cross_entropy(
                network(torch.lerp(rows.train[other], rows.train[batch], share)),
                torch.lerp(target[other], target[batch], share),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(network)
            losses.append(loss.item())
        metrics = score(average, rows.validation, fold.validation_target)
        fold.report(epoch, EPOCHS, sum(losses) / len(losses), **metrics)
    # What is served takes raw rows, so the scaling belongs into it.
    return {**metrics, "model": nn.Sequential(rows.module, average.module.eval())}


def build(inputs, width, outputs):
    """A network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


@torch.no_grad()
def score(network, inputs, target):
    """The metrics of the validation rows."""
    outputs = network.eval()(inputs)
    right = outputs.argmax(1) == target
    return {"accuracy": right.float().mean().item(), "loss": functional.cross_entropy(outputs, target).item()}
