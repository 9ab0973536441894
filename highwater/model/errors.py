"""Kinds of failure, by what should happen next: fail at once, or try again."""


class HighwaterError(Exception):
    """Any failure that Highwater can name. Its message says what is wrong, the value and the way out."""

    kind = "error"
    """Its name in ``ops.attempts`` and in SQL."""
    is_final = False
    """Whether retrying is pointless."""


class ConfigurationError(HighwaterError):
    """A setting, a file or an argument is wrong: retrying is pointless.

    ``source`` names the source that it is about, or that was being read: the fix may be there.
    """

    kind = "configuration"
    is_final = True

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class WrongVersion(ConfigurationError):
    """The warehouse's schema is of another version than this code."""

    kind = "wrong version"


class NotRegistered(ConfigurationError):
    """A dataset has no row in control.datasets: its runs wait until it has one."""

    kind = "not registered"


class DataRejected(HighwaterError):
    """The data broke a rule (failed audit, wrong counts, stale attempt): retrying is pointless."""

    kind = "data rejected"
    is_final = True


class AuditFailed(DataRejected):
    """The set broke an expectation of its suite: nothing of it was published."""

    kind = "audit failed"


class Held(DataRejected):
    """A person restored a former version of the window: it is kept until someone releases it."""

    kind = "held"


class IntegrityBroken(DataRejected):
    """Source and warehouse, or two published tables, do not agree."""

    kind = "integrity broken"


class SourceIncomplete(HighwaterError):
    """The source has not closed this window yet: try again later."""

    kind = "source incomplete"


class NotOver(HighwaterError):
    """The window ends in the future by the warehouse's clock, as after the clock was set back: try again later."""

    kind = "window not over"


class SourceUnavailable(HighwaterError):
    """The source refused the login, cannot be reached or broke off: try again later."""

    kind = "source unavailable"

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class SourceMoved(HighwaterError):
    """A table of the source was rewritten or replaced while it was read: try again."""

    kind = "source moved"


class Unhealthy(HighwaterError):
    """A health check of something that the work needs failed: try again later."""

    kind = "unhealthy"


class SourceSlow(SourceUnavailable):
    """The source exceeded its time limit: retrying in the same run would cost that time again."""

    kind = "source slow"
    is_final = True


class WarehouseUnavailable(HighwaterError):
    """The warehouse is unavailable, or failed in an unforeseen way: try again later."""

    kind = "warehouse unavailable"


class Busy(HighwaterError):
    """Another session holds a needed lock in the warehouse: try again soon."""

    kind = "busy"


class SourceBusy(SourceUnavailable, Busy):
    """Another session holds a needed lock at the source: try again soon."""

    kind = "source busy"


class NoRoom(Busy):
    """The warehouse's disk is full: try again once there is room."""

    kind = "disk full"


def kind_of(error: BaseException) -> str:
    """The kind under which a failure is recorded; for an error of others, the name of its class."""
    return error.kind if isinstance(error, HighwaterError) else type(error).__name__
