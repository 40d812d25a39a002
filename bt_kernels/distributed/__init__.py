"""The loss of a batch that is spread over processes, exact, over torch.distributed.

    options.py      process_group, gradient, statistics
    default_group.py  the group of torch.distributed, and the warning to a loss that was not told of it
    loss.py         the way of a call: agree, choose a formulation, hand the stages to BarlowTwinsFunction
    agreement.py    what every rank brings, and whether it fits together, before anything is sent
    cost.py         bytes on the wire and FLOPs of both formulations
    gram.py         each rank gets all samples of its features; one all-reduce of both triangles of K
    correlation.py  each rank keeps its samples; an all-reduce of C
    global_batch.py what both go by
    exchange.py, statistics.py, sums.py   what they are made of

gram.py and correlation.py put collectives between a backend's own stages; they compute nothing themselves.
"""
