"""Content of checkpoints for tests."""


def checkpoint_content(network=None, **changes):
    """A complete checkpoint after epoch 1, with a network's state."""
    progress = {"epoch": 1, "step": 1, "best_metric": 0.5, "best_metric_epoch": 1} | changes.pop("progress", {})
    optimizer = {"state": {}, "param_groups": []}
    content = {"network": network or {}, "optimizer": optimizer, "loss_function": {}, "settings": {}, "cases": []}
    return content | {"progress": progress} | changes
