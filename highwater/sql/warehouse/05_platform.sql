-- Who may see what the warehouse is: every session of ours asks for its version first.
GRANT SELECT ON control.platform, control.alembic_version, control.repeatable TO loader, analyst;
