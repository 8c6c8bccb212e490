"""A tiny run with all four trackers, in a process of its own: `FOLDER [SAVES]` dies instead of so many saves.

Without SAVES it prints, as JSON, what each tracker's own library reads back: {tracker: {name: [(step, value)]}}.
"""

import json
import os
import signal
import struct
import sys
from pathlib import Path

from trainkit.core import together
from trainkit.core.compose import compose
from trainkit.core.trainer import train


def configure(folder: str, *more: str):
    text = Path(folder, "text.txt")
    text.write_text("a small text, said again and again.\n\n" * 300)
    return compose([
        *("model=lstm", "model.hidden_dim=8", "model.embedding_dim=4", "trainer.device=cpu", "resume=auto"),
        *(f"data.source='{text}'", "data.sequence_length=16", "data.batch_size=16", "trainer.max_epochs=3"),
        *("trainer.limit_train_batches=9", "logger.every_n_steps=2", "trainer.save_every_n_steps=3", f"output_dir='{folder}/runs'"),
        *more,
    ])  # fmt: skip


def main(folder: str, saves: str = "") -> None:
    enabled = [f"logger.{name}.enabled=true" for name in ("tensorboard", "wandb", "mlflow")]
    if saves:
        save, left = together.save, int(saves)

        def save_or_die(*arguments, **options):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            save(*arguments, **options)

        together.save = save_or_die
    result = train(configure(folder, *enabled))
    run = json.loads((result.run_folder / "run.json").read_text())
    print(json.dumps({
        "failures": run["failures"],
        "tensorboard": read_tensorboard(result.run_folder / "tensorboard"),
        "mlflow": read_mlflow(f"sqlite:///{folder}/runs/mlflow.db", run["trackers"]["mlflow"]["run_id"]),
        "wandb": read_wandb(result.run_folder / "wandb"),
        "settings": read_settings(run, folder, result.run_folder),
    }))  # fmt: skip


def read_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in tags}


def read_mlflow(uri, run_id):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    names = client.get_run(run_id).data.metrics
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run_id, name)] for name in names
    }


def read_wandb(folder):
    """Read all runs in the folder: a resumed one has a file for each process, and one id."""
    found = {}
    for record in read_records(folder):
        if record.WhichOneof("record_type") == "history":
            values = {
                item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item
            }
            for name in values.keys() - {"step", "epoch", "_step", "_timestamp", "_runtime", "_wandb"}:
                found.setdefault(name, []).append((values["step"], values[name]))
    return found


def read_records(folder):
    """LevelDB's log format behind a header of seven bytes; the records are wandb's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        data, place, whole = path.read_bytes(), 7, b""
        while place + 7 <= len(data):
            if 32768 - place % 32768 < 7:
                place += 32768 - place % 32768
                continue
            size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
            whole += data[place + 7 : place + 7 + size]
            place += 7 + size
            if kind in (1, 4):  # whole, or the last part
                yield Record.FromString(whole)
                whole = b""


def read_settings(run, folder, run_folder):
    """Give a setting as each of the three keeps it, and the ids and the state of the runs."""
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    events = EventAccumulator(str(run_folder / "tensorboard")).Reload()
    start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    records = list(read_records(run_folder / "wandb"))
    return {
        "mlflow": client.get_run(run["trackers"]["mlflow"]["run_id"]).data.params["model.hidden_dim"],
        "tensorboard": HParamsPluginData.FromString(start).session_start_info.hparams["model.hidden_dim"].number_value,
        "wandb": [json.loads(each.value_json)["hidden_dim"] for record in records
                  for each in record.run.config.update if each.key == "model"],
        "status": client.get_run(run["trackers"]["mlflow"]["run_id"]).info.status,
        "num_mlflow_runs": len(client.search_runs([e.experiment_id for e in client.search_experiments()])),
        "wandb_ids": sorted({record.run.run_id for record in records if record.HasField("run")}),
    }  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
