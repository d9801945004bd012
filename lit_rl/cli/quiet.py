"""Less noise."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Lightning's own chatter says nothing about the run; its warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r".*no `val_dataloader`. Skipping val loop.*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=r".*returned `None`, this fit will run with no optimizer.*")
    warnings.filterwarnings("ignore", message=r".*LightningCLI's args parameter.*")
