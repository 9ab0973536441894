"""What can go wrong, by what should happen next: refuse at once, or try again."""


class HighwaterError(Exception):
    """Any failure Highwater can name. Its message says what, the value seen and the way out."""

    is_final = False
    """Whether trying again changes nothing."""


class ConfigurationError(HighwaterError):
    """A setting, a file or an argument is wrong: trying again changes nothing."""

    is_final = True


class RefusedData(HighwaterError):
    """The data broke a rule (failed audit, wrong counts, stale attempt): trying again changes nothing."""

    is_final = True


class NotReady(HighwaterError):
    """The source has not closed this window yet: try again later."""


class SourceAway(HighwaterError):
    """The source refused the login, cannot be reached or died half-way: try again later."""


class SourceSlow(SourceAway):
    """The source took longer than it is given: trying again in the same run would cost that time again."""

    is_final = True


class Busy(HighwaterError):
    """The warehouse holds a lock this needs: try again soon."""
