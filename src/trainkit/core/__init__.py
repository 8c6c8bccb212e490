"""A compact training core in plain torch: configuration in, checkpoints and metrics out.

`config` is the schema, `compose` reads overrides into it, `registry` finds what it names;
`models`, `optim` and `data` build the parts; `loop` is the one place where training happens;
`trainer` runs epochs around it, `checkpoint` and `tracking` write files. The core does not
know that it is guarded, and `config`, `compose` and `registry` load without torch.
"""
