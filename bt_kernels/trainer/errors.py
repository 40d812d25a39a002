"""The one exception that the command line turns into a sentence on stderr."""


class TrainerError(Exception):
    """The run cannot start or go on; the message is one sentence that says what is wrong and what to do."""
