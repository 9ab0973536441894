"""What can go wrong, by what should happen next: refuse at once, or try again."""


class HighwaterError(Exception):
    """Any failure Highwater can name. Its message says what, the value seen and the way out."""

    is_final = False
    """Whether trying again changes nothing."""


class ConfigurationError(HighwaterError):
    """A setting, a file or an argument is wrong: trying again changes nothing.

    With ``source`` it is about that one, or came up as it was asked: it may be mended there.
    """

    is_final = True

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class WrongVersion(ConfigurationError):
    """The warehouse's schema is of another version than this code."""


class NotRegistered(ConfigurationError):
    """A dataset has no row in control.datasets: its runs wait until it has."""


class RefusedData(HighwaterError):
    """The data broke a rule (failed audit, wrong counts, stale attempt): trying again changes nothing."""

    is_final = True


class AuditFailed(RefusedData):
    """The set broke an expectation of its suite: nothing of it was published."""


class Held(RefusedData):
    """A person put a former version of the window back: it stands until somebody releases it."""


class IntegrityBroken(RefusedData):
    """Source and warehouse, or two published tables, do not agree."""


class NotReady(HighwaterError):
    """The source has not closed this window yet: try again later."""


class NotOver(HighwaterError):
    """The window ends in the future of the warehouse, as after a clock was put back: try again later."""


class SourceAway(HighwaterError):
    """The source refused the login, cannot be reached or died half-way: try again later."""

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.source = source


class SourceMoved(HighwaterError):
    """A table of the source was rewritten or replaced while it was read: try again."""


class Unhealthy(HighwaterError):
    """Something that the work needs is not well: try again later."""


class SourceSlow(SourceAway):
    """The source took longer than it is given: trying again in the same run would cost that time again."""

    is_final = True


class WarehouseAway(HighwaterError):
    """The warehouse cannot be asked, or refuses what nobody foresaw: try again later."""


class Busy(HighwaterError):
    """The warehouse holds a lock this needs: try again soon."""


class SourceBusy(SourceAway, Busy):
    """Somebody holds what is asked for at the source: try again soon."""


class NoRoom(Busy):
    """The warehouse's disk is full: try again once there is room."""
