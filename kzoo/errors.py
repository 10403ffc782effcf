"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config, a label, a text.

    The message is one sentence or two that say what is wrong, where, and the remedy. The command line prints it
    without a traceback and exits with 2; from Python it is an ordinary ``ValueError``.
    """
