"""What is said once in a process."""

import threading

_said: set[str] = set()
_lock = threading.Lock()


def first_time(what: str) -> bool:
    """Whether this is the first call in the process with that word."""
    with _lock:
        first = what not in _said
        _said.add(what)
    return first
