"""The exceptions that the command line turns into a sentence on stderr."""


class TrainerError(Exception):
    """The run cannot start or go on; the message is one sentence that says what is wrong and what to do."""


class DataError(TrainerError):
    """Images that could be read before cannot be read any more; the training itself is as good as it was."""


class Diverged(TrainerError):
    """The training has gone wrong: the message says what was seen.

    Args:
        seen: What was seen.
        since: The last step before the first sign of it.
    """

    def __init__(self, seen: str, since: int) -> None:
        super().__init__(seen)
        self.since = since
