"""Names and reasons that people give: the warehouse's rule for them, for every command that asks for them."""

from __future__ import annotations

import getpass

import psycopg2

from highwater.model.errors import ConfigurationError
from highwater.store import driver_errors, ledger, warehouse


def who(by: str) -> str:
    """The name to act as: the given one, else the login on this machine."""
    return by.strip() or getpass.getuser()


def said(name: str, text: str | None, *, dataset: str | None = None) -> str:
    """A reason that a person gave, trimmed; with a dataset, that is checked first.

    Raises:
        ConfigurationError: unknown dataset, no reason, or ``control.words`` refuses it: says what was expected.
    """
    try:
        with warehouse.session("analyst") as cursor:
            if dataset is not None:
                ledger.grid(cursor, dataset)
            if text is None:
                raise ConfigurationError(f"--{name} is missing: expected words that others understand later")
            cursor.execute("SELECT control.words(%s, %s)", (name, text))
            return str(warehouse.fetch_value(cursor))
    except psycopg2.Error as error:
        if error.pgcode != "HW030":
            raise
        raise ConfigurationError(driver_errors.said(error)) from None
