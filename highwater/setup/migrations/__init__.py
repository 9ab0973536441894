"""Migrates the warehouse's schema to the installed version, in one transaction. Folders are those of highwater/sql/.

Tables change by numbered migrations (``migrations/<version>/``, run by Alembic), each applied once and never changed
after its release. Triggers, views and functions are created by the files of ``warehouse/``: if a file or one of these
objects has changed, all objects are dropped and created again. What every start sets (settings, texts of incidents) is
in ``start/``; the published tables and their grids, including a user's own, are in ``sql/datasets/``. A warehouse from
before versions existed is adopted: the engine's tables are created as in a new warehouse, and the rows of the former
tables are copied into them.

`plan` returns what there is to do, `carry_out` does it.
"""

from highwater.setup.migrations.execution import carry_out
from highwater.setup.migrations.plans import Plan, of_nothing, plan

__all__ = ["Plan", "carry_out", "of_nothing", "plan"]
