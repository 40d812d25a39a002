"""Ranks for the tests: processes that stay, over gloo, each running what it is sent.

Starting a process takes seconds, most of them torch's import, so all tests share four. A test of W ranks runs in a
group of the first W.
"""

import contextlib
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait

MOST = 4
# What a collective may wait for the others, in which they may be starting; and then for an answer.
COLLECTIVE_TIMEOUT, ANSWER_TIMEOUT = timedelta(seconds=40), 120


class RankError(Exception):
    """What went wrong on the ranks, with their tracebacks."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve(rank: int, port: int, connection: Connection) -> None:
    """The life of a rank."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=MOST, timeout=COLLECTIVE_TIMEOUT)
    groups = {
        world: dist.new_group(list(range(world)), timeout=COLLECTIVE_TIMEOUT) for world in range(1, MOST + 1)
    }
    with contextlib.suppress(EOFError):  # the tests have ended
        while True:
            function, world, arguments = connection.recv()
            try:
                connection.send((True, function(groups[world], *arguments)))
            except BaseException:
                connection.send((False, traceback.format_exc()))


class Processes:
    """run() sends one call to the first W ranks; after a rank did not answer they are all started anew."""

    def __init__(self) -> None:
        self.ranks: list[tuple[multiprocessing.Process, Connection]] = []

    def start(self) -> None:
        context, port = multiprocessing.get_context("spawn"), free_port()
        # One thread each: the ranks share the machine's cores. Read by OpenMP when it is loaded.
        threads, os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS"), "1"
        for rank in range(MOST):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.ranks.append((process, ours))
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads

    def stop(self) -> None:
        for process, connection in self.ranks:
            connection.close()
            process.kill()
            process.join()
        self.ranks = []

    def run(self, world: int, function: Callable, *arguments, per_rank: list[tuple] | None = None) -> list:
        """function(group, *arguments, *per_rank[rank]) on each of the ranks; what they returned, in their order.

        Raises RankError with the tracebacks of those that raised.
        """
        if not self.ranks:
            self.start()
        connections = [connection for _, connection in self.ranks[:world]]
        for rank, connection in enumerate(connections):
            own = per_rank[rank] if per_rank else ()
            connection.send((function, world, (*arguments, *own)))
        answers = {}
        while len(answers) < world:
            ready = wait([c for c in connections if c not in answers], ANSWER_TIMEOUT)
            if not ready:
                silent = [rank for rank, connection in enumerate(connections) if connection not in answers]
                self.stop()
                raise RankError(f"no answer from ranks {silent} within {ANSWER_TIMEOUT} s")
            for connection in ready:
                try:
                    answers[connection] = connection.recv()
                except EOFError:
                    self.stop()
                    raise RankError(f"rank {connections.index(connection)} has ended") from None
        failed = [f"rank {r}: {answers[c][1]}" for r, c in enumerate(connections) if not answers[c][0]]
        if failed:
            raise RankError("\n".join(failed))
        return [answers[connection][1] for connection in connections]
