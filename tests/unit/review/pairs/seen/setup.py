# === base
import os
import random

import numpy as np
import torch
import torch.distributed as dist


def setup_distributed(seed, backend="nccl"):
    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        torch.cuda.set_device(local_rank)
        dist.init_process_group(backend=backend, rank=rank, world_size=world_size)
        dist.barrier()
    random.seed(seed + rank)
    np.random.seed(seed + rank)
    torch.manual_seed(seed + rank)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return rank, world_size, device
# === copy: reordered, renamed
import os
import random

import numpy
import torch
from torch import distributed


def init_env(base_seed, backend="nccl"):
    local = int(os.environ.get("LOCAL_RANK", 0))
    world = int(os.environ.get("WORLD_SIZE", 1))
    me = int(os.environ.get("RANK", 0))
    torch.backends.cudnn.benchmark = True
    if world > 1:
        torch.cuda.set_device(local)
        distributed.init_process_group(backend=backend, world_size=world, rank=me)
        distributed.barrier()
    torch.manual_seed(base_seed + me)
    numpy.random.seed(base_seed + me)
    random.seed(base_seed + me)
    dev = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    return me, world, dev
# === copy: extracted
import os
import random

import numpy as np
import torch
import torch.distributed as dist


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True


def read(name, default):
    return int(os.environ.get(name, default))


def setup_distributed(seed, backend="nccl"):
    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        torch.cuda.set_device(local_rank)
        dist.init_process_group(backend=backend, rank=rank, world_size=world_size)
        dist.barrier()
    seed_all(seed + rank)
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return rank, world_size, device
# === copy: conditional expression against if
import os
import random

import numpy as np
import torch
import torch.distributed as dist


def setup_distributed(seed, backend="nccl"):
    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        torch.cuda.set_device(local_rank)
        dist.init_process_group(backend=backend, rank=rank, world_size=world_size)
        dist.barrier()
    for seeding in (random.seed, np.random.seed, torch.manual_seed):
        seeding(seed + rank)
    torch.backends.cudnn.benchmark = True
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
    else:
        device = torch.device("cpu")
    return rank, world_size, device
# === other: paths from the environment
import os
from pathlib import Path


def find_cache(name, version="v1"):
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(home) if home else Path.home() / ".cache"
    folder = root / "project" / version
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.bin"
    if not target.exists():
        target.write_bytes(b"")
    return folder, target
# === other: a device by flags
import torch


def pick_device(args):
    torch.manual_seed(args.seed)
    if args.cuda and torch.cuda.is_available():
        device = torch.device("cuda")
        torch.cuda.manual_seed_all(args.seed)
        torch.backends.cuda.matmul.allow_tf32 = True
    elif args.mps:
        device = torch.device("mps")
    else:
        device = torch.device("cpu")
    return device, {"num_workers": 1, "pin_memory": True} if args.cuda else {}
