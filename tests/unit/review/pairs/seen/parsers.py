# === base
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Train a classifier")
    parser.add_argument("--data-dir", type=str, required=True, help="where the images are")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=str, default="out")
    args = parser.parse_args()
    if args.batch_size <= 0:
        raise ValueError("batch size must be positive")
    return args
# === copy: literals
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Train a classifier")
    parser.add_argument("--data-dir", type=str, required=True, help="where the images are")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--output", type=str, default="out")
    args = parser.parse_args()
    if args.batch_size <= 0:
        raise ValueError("batch size must be positive")
    return args
# === copy: reordered, keywords
import argparse


def get_options():
    p = argparse.ArgumentParser(description="Train a classifier")
    p.add_argument("--epochs", default=10, type=int)
    p.add_argument("--batch-size", default=64, type=int)
    p.add_argument("--data-dir", required=True, type=str, help="where the images are")
    p.add_argument("--output", default="out", type=str)
    p.add_argument("--seed", default=0, type=int)
    p.add_argument("--weight-decay", default=1e-4, type=float)
    p.add_argument("--lr", default=1e-3, type=float)
    options = p.parse_args()
    if options.batch_size <= 0:
        raise ValueError("batch size must be positive")
    return options
# === other: a parser with other options
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Export a checkpoint")
    parser.add_argument("--checkpoint", type=str, required=True, help="file to read")
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--target", type=str, default="model.onnx")
    args = parser.parse_args()
    if args.opset < 11:
        raise ValueError("opset must be at least 11")
    return args
# === other: a parser that shares the usual options
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Play an agent")
    parser.add_argument("--env-id", type=str, default="CartPole-v1")
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--total-timesteps", type=int, default=500000)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.batch_size = args.num_envs * 128
    return args
# === other: a command line of click
import click


@click.command()
@click.option("--data-dir", type=str, required=True)
@click.option("--batch-size", type=int, default=64)
@click.option("--epochs", type=int, default=10)
def main(data_dir, batch_size, epochs):
    click.echo(f"training on {data_dir}")
    trainer = build_trainer(data_dir, batch_size)
    for epoch in range(epochs):
        result = trainer.fit_one(epoch)
        click.secho(str(result), fg="green")
    trainer.close()
