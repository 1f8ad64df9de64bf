"""What is raised where there is nothing to judge."""


class AggregateError(Exception):
    """The message is one line with the fix."""
