"""Airflow's own command line, as ``scripts/airflow`` runs it: what it refuses is one sentence, as our own does."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from highwater.store import driver_errors, sentences

MISTAKE = 2
_RUNS_TASKS = {"test", "run"}
"""Commands that run somebody's code: where that fails, the stack trace is what they are typed for."""


def refusal(error: Exception, words: Sequence[str]) -> str | None:
    """What Airflow or we refuse, in one sentence; None where it is no refusal but a fault, which needs its stack trace.

    Args:
        error: what the command ended with.
        words: the command as it was typed, without the program.
    """
    from airflow.sdk.exceptions import AirflowException
    from sqlalchemy.exc import DBAPIError

    if _RUNS_TASKS & set(words[:2]):
        return None
    if isinstance(error, DBAPIError):
        return f"the metadata refuses this: {driver_errors.said_through_sqlalchemy(str(error))}"
    if isinstance(error, AirflowException | ValueError):
        # What follows the first line is the schema that a value does not fit.
        return str(error).strip().partition("\n")[0].rstrip(" .") or type(error).__name__
    return sentences.of(error) if isinstance(error, OSError) else None


def main() -> None:
    """Run the command that was typed; what is refused ends with exit code 2; on stdout is only what was asked for."""
    # Said on stdout at each `dags …`, though nobody asked for a drawing.
    warnings.filterwarnings("ignore", message="Could not import graphviz")
    from airflow.__main__ import main as airflow

    try:
        airflow()  # type: ignore[no-untyped-call]
    except Exception as error:
        said = refusal(error, sys.argv[1:])
        if said is None:
            raise
        sys.stderr.write(f"airflow: {said}\n")
        raise SystemExit(MISTAKE) from None


if __name__ == "__main__":
    main()
