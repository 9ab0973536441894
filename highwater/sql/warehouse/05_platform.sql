-- Access to what the warehouse is: every session of Highwater reads its version first.
GRANT SELECT ON control.platform, control.alembic_version, control.repeatable TO loader, analyst;

-- Code older than schema versions does not check for one: its start would replace these functions by older ones. It
-- writes its anchor at the beginning of its one transaction, and is stopped there.
CREATE OR REPLACE FUNCTION control.refuse_older_start() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('highwater.schema_version', TRUE), '') = '' THEN
        RAISE EXCEPTION 'the warehouse''s schema is version %, newer than the code of this start: use the newer code',
            (SELECT max(v.version_num) FROM control.alembic_version AS v) USING ERRCODE = 'HW012';
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE TRIGGER older_start_is_refused BEFORE INSERT ON control.platform
FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_older_start();

REVOKE EXECUTE ON FUNCTION control.refuse_older_start FROM public;
