"""The one error type that the terminal turns into a message; anything else is a bug of ours."""


class UserError(Exception):
    """A mistake of the user's: usage, config, data or device. The process ends with exit code 2.

    The message is one or two lines: what is wrong, with the value, and what to do.
    """
