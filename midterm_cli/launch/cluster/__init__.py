"""Jobs on the workers of a Dask scheduler; imported only where `--launcher dask` is given.

    connect.py    to a scheduler, within a bounded time
    crew.py       its workers: who they are, whether they may compute, whether they live
    rounds.py     jobs handed out, followed, and each answered for
    remote.py     what runs on a worker

Every wait ends: `connect.Bounds` says when.
"""
