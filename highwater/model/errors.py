"""What can go wrong, by what should happen next: refuse at once, or try again."""


class HighwaterError(Exception):
    """Any failure Highwater can name. Its message says what, the value seen and the way out."""

    kind = "error"
    """Its name in ``ops.attempts`` and in SQL that sorts failures."""
    is_final = False
    """Whether trying again changes nothing."""


class ConfigurationError(HighwaterError):
    """A setting, a file or an argument is wrong: trying again changes nothing.

    With ``source`` it is about that one, or came up as it was asked: it may be mended there.
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
    """A dataset has no row in control.datasets: its runs wait until it has."""

    kind = "not registered"


class DataRejected(HighwaterError):
    """The data broke a rule (failed audit, wrong counts, stale attempt): trying again changes nothing."""

    kind = "data rejected"
    is_final = True


class AuditFailed(DataRejected):
    """The set broke an expectation of its suite: nothing of it was published."""

    kind = "audit failed"


class Held(DataRejected):
    """A person put a former version of the window back: it stands until somebody releases it."""

    kind = "held"


class IntegrityBroken(DataRejected):
    """Source and warehouse, or two published tables, do not agree."""

    kind = "integrity broken"


class SourceIncomplete(HighwaterError):
    """The source has not closed this window yet: try again later."""

    kind = "source incomplete"


class NotOver(HighwaterError):
    """The window ends in the future of the warehouse, as after a clock was put back: try again later."""

    kind = "window not over"


class SourceUnavailable(HighwaterError):
    """The source refused the login, cannot be reached or died half-way: try again later."""

    kind = "source unavailable"

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class SourceMoved(HighwaterError):
    """A table of the source was rewritten or replaced while it was read: try again."""

    kind = "source moved"


class Unhealthy(HighwaterError):
    """Something that the work needs is not well: try again later."""

    kind = "unhealthy"


class SourceSlow(SourceUnavailable):
    """The source took longer than it is given: trying again in the same run would cost that time again."""

    kind = "source slow"
    is_final = True


class WarehouseUnavailable(HighwaterError):
    """The warehouse cannot be asked, or refuses what nobody foresaw: try again later."""

    kind = "warehouse unavailable"


class Busy(HighwaterError):
    """The warehouse holds a lock this needs: try again soon."""

    kind = "busy"


class SourceBusy(SourceUnavailable, Busy):
    """Somebody holds what is asked for at the source: try again soon."""

    kind = "source busy"


class NoRoom(Busy):
    """The warehouse's disk is full: try again once there is room."""

    kind = "disk full"


def kind_of(error: BaseException) -> str:
    """What a failure is called where failures are counted and sorted; an error that is not ours by its class."""
    return error.kind if isinstance(error, HighwaterError) else type(error).__name__
