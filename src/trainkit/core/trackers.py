"""TensorBoard, Weights & Biases and MLflow; each library is imported where it is opened."""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from trainkit.core.table import PARTS, Row
from trainkit.core.tracking import Opening

FLUSH_S = 0.02


class Tensorboard:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, opening: Opening) -> None:
        module = import_module("torch.utils.tensorboard")
        state, purge_step = opening.state, None
        if "told" in state:  # what will be repeated is purged from what was written before
            purge_step = opening.step + 1
            state["told"] = min(state["told"], [opening.num_epochs, opening.step, len(PARTS)])
        folder = str(opening.folder / "tensorboard")
        self.writer = module.SummaryWriter(folder, purge_step=purge_step)
        if purge_step is None:
            plain = {
                key: value if isinstance(value, bool | int | float | str) else str(value)
                for key, value in opening.settings.items()
            }
            for each in module.summary.hparams(plain, {"validation/loss": 0.0}):
                self.writer.file_writer.add_summary(each)

    def tell(self, row: Row) -> None:
        """Add a scalar per value."""
        for name, value in row.name_values().items():
            self.writer.add_scalar(name, value, row.step)

    def flush(self) -> None:
        """Write what is queued."""
        self.writer.flush()

    def close(self, status: str, reason: str | None) -> None:
        """End the file."""
        self.writer.close()


class Wandb:
    """A run of Weights & Biases; `step` is a value like others, so that a resumed run may go back."""

    def __init__(self, opening: Opening) -> None:
        import wandb

        settings, state = opening.config.logger.wandb, opening.state
        resumes, interval = "id" in state, "x_transaction_log_flush_interval"
        # Its own process dies with ours, and by itself it writes every 15 seconds: a younger one can be told.
        patience = {interval: FLUSH_S} if interval in wandb.Settings.model_fields else {}
        self.run = wandb.init(
            project=settings.project_name,
            name=opening.config.exp_name,
            id=state.setdefault("id", secrets.token_hex(8)),
            resume="allow" if resumes else None,
            mode=settings.mode,
            dir=str(opening.folder),
            config=asdict(opening.config),
            allow_val_change=True,
            settings=wandb.Settings(console="off", silent=settings.mode == "offline", **patience),
        )
        self.is_behind = False
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def tell(self, row: Row) -> None:
        """Log the values beside their step."""
        self.run.log(row.name_values() | {"step": row.step, "epoch": row.epoch})
        self.is_behind = True

    def flush(self) -> None:
        """Give wandb's process the time to write: nobody says when it has."""
        if self.is_behind:
            time.sleep(3 * FLUSH_S)
        self.is_behind = False

    def close(self, status: str, reason: str | None) -> None:
        """Finish the run."""
        self.run.finish(exit_code=int(status != "finished"))


class Mlflow:
    """A run in an MLflow store."""

    def __init__(self, opening: Opening) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would ask a server about itself
        # its own, 7 times with growing pauses and 120 s, hold up a run for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        config, state = opening.config, opening.state
        output = Path(config.output_dir).resolve()
        uri = config.logger.mlflow.tracking_uri or f"sqlite:///{output / 'mlflow.db'}"
        self.client = MlflowClient(uri)
        if state.get("uri") != uri:
            state.clear()
            state.update(uri=uri, run_id=self._create_run(opening, output))
        self.run_id: str = state["run_id"]
        run = self.client.get_run(self.run_id)
        self.client.update_run(self.run_id, status="RUNNING")
        there = run.data.params  # what is there cannot be changed
        new = {key: value for key, value in opening.settings.items() if key not in there}
        parameters = [Param(key, str(value)[:6000]) for key, value in new.items()]
        self.client.log_batch(self.run_id, params=parameters)
        # What the store has, whenever the last process died.
        self.there = {
            (name, metric.step)
            for name in run.data.metrics
            for metric in self.client.get_metric_history(self.run_id, name)
        }

    def _create_run(self, opening: Opening, output: Path) -> str:
        settings = opening.config.logger.mlflow
        found = self.client.get_experiment_by_name(settings.experiment_name)
        if found is None:
            where = None if settings.tracking_uri else (output / "mlartifacts").as_uri()
            experiment: str = self.client.create_experiment(settings.experiment_name, where)
        else:
            experiment = found.experiment_id
        created = self.client.create_run(experiment, run_name=opening.config.exp_name)
        return str(created.info.run_id)

    def tell(self, row: Row) -> None:
        """Log all values at once."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in row.name_values().items()}
        metrics = [
            Metric(name, value, now, row.step)
            for name, value in values.items()
            if (name, row.step) not in self.there
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    def flush(self) -> None:
        """Do nothing: the store has it."""

    def close(self, status: str, reason: str | None) -> None:
        """Say how it ended."""
        ends = {"finished": "FINISHED", "interrupted": "KILLED"}
        self.client.set_terminated(self.run_id, status=ends.get(status, "FAILED"))
