"""The one error that is the user's to mend."""

from __future__ import annotations


class UserError(Exception):
    """A mistake or a condition outside Flyweight that the user can mend.

    The message is one clear sentence: what was found, where, what was expected, what to do next.
    The command line prints it without a traceback and exits with code 2. Anything else that is
    raised is our own bug and keeps its traceback.
    """


class ToldByAnother(UserError):
    """A UserError that another process of the same run tells the user; this process only ends."""
