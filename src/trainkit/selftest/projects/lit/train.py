"""Fit the spiral classifier with the Lightning trainer."""

import lightning
import torch

from data import train_loader, val_loader
from module import Config, SpiralClassifier


def main():
    torch.set_num_threads(1)
    config = Config()
    lightning.seed_everything(config.seed, verbose=False)
    module = SpiralClassifier(config)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=config.max_epochs,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip_norm,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_loader(config.batch_size, config.seed), val_loader(config.batch_size))
    print(f"steps {trainer.global_step} clip {trainer.gradient_clip_val}")


if __name__ == "__main__":
    main()
