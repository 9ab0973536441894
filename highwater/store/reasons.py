"""Who asks for something, and why: the warehouse's rule for such words, for every command that asks before it acts."""

from __future__ import annotations

import getpass

import psycopg2

from highwater.model.errors import ConfigurationError
from highwater.store import driver_errors, ledger, warehouse


def who(by: str) -> str:
    """As whom a command acts: as it was said, else the login of this machine."""
    return by.strip() or getpass.getuser()


def said(name: str, text: str | None, *, dataset: str | None = None) -> str:
    """Words that a person gave, without the blanks around them; of a dataset, where that is there at all.

    Raises:
        ConfigurationError: there is no such dataset, no words were given, or ``control.words`` refuses them: says
            what was given and what was expected.
    """
    try:
        with warehouse.session("analyst") as cursor:
            if dataset is not None:
                ledger.grid(cursor, dataset)
            if text is None:
                raise ConfigurationError(f"--{name} is missing: say why, in words that others understand later")
            cursor.execute("SELECT control.words(%s, %s)", (name, text))
            return str(warehouse.fetch_value(cursor))
    except psycopg2.Error as error:
        if error.pgcode != "HW030":
            raise
        raise ConfigurationError(driver_errors.said(error)) from None
