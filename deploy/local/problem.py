"""The one exception whose text is meant for the person at the keyboard."""


class RuntimeProblem(Exception):
    """Something on this machine stands in the way; the text says what it is and what to do about it."""
