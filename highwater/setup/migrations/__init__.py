"""Brings the warehouse's schema to the version of this code, in one transaction. Folders are those of highwater/sql/.

Tables change by numbered migrations (``migrations/<version>/``, carried by Alembic), each applied once and never
changed after its release. Triggers, views and functions are made by the files of ``warehouse/``: where one of these
has changed, or what they made has, all are dropped and made anew. What every start says (settings, the words of
incidents) is in ``start/``; the published tables and their grids, a user's own among them, are in
``sql/datasets/``. A warehouse of a time without versions is adopted: the engine's tables are made as a new warehouse
has them and take over the rows of the former ones.

`plan` reads what there is to do, `carry_out` does it.
"""

from highwater.setup.migrations.carrying_out import carry_out
from highwater.setup.migrations.planning import Plan, of_nothing, plan

__all__ = ["Plan", "carry_out", "of_nothing", "plan"]
