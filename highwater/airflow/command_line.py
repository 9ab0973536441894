"""Airflow's command line as ``scripts/airflow`` runs it: a refusal is one sentence, as in our own command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from highwater.store import driver_errors, sentences

MISTAKE = 2
_RUNS_TASKS = {"test", "run"}
"""Commands that run a user's code: if that fails, its stack trace is the point."""


def refusal(error: Exception, words: Sequence[str]) -> str | None:
    """A refusal by Airflow or Highwater in one sentence; None for a fault, which needs its stack trace.

    Args:
        error: the error the command ended with.
        words: the command as typed, without the program.
    """
    from airflow.sdk.exceptions import AirflowException
    from sqlalchemy.exc import DBAPIError

    if _RUNS_TASKS & set(words[:2]):
        return None
    if isinstance(error, DBAPIError):
        return f"the metadata refuses this: {driver_errors.said_through_sqlalchemy(str(error))}"
    if isinstance(error, AirflowException | ValueError):
        # After the first line Airflow prints the schema that the value does not fit.
        return str(error).strip().partition("\n")[0].rstrip(" .") or type(error).__name__
    return sentences.of(error) if isinstance(error, OSError) else None


def main() -> None:
    """Run the command from ``sys.argv``; a refusal exits with code 2 and prints to stderr alone."""
    # Airflow warns of this on stdout at each `dags …`, also if no drawing was requested.
    warnings.filterwarnings("ignore", message="Could not import graphviz")
    from airflow.__main__ import main as airflow

    try:
        airflow()  # type: ignore[no-untyped-call]
    except Exception as error:
        sentence = refusal(error, sys.argv[1:])
        if sentence is None:
            raise
        sys.stderr.write(f"airflow: {sentence}\n")
        raise SystemExit(MISTAKE) from None


if __name__ == "__main__":
    main()
