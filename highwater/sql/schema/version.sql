-- One row: the version of the warehouse's schema.
SELECT version_num FROM control.alembic_version;
