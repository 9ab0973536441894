-- Refused rows are kept until an operator deletes them. Run as publisher; again is harmless.

-- Deletes the refused rows of windows that ended by a moment, and records that moment. Returns the number deleted.
CREATE OR REPLACE FUNCTION control.delete_refused_rows(p_ended_by timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    deleted bigint;
BEGIN
    IF p_ended_by IS NULL OR NOT control.is_usual_moment(p_ended_by) OR p_ended_by > ops.clock() THEN
        RAISE EXCEPTION 'invalid moment %: expected one in the past, to delete the refused rows of windows that ended by then',
            coalesce(p_ended_by::text, 'null') USING ERRCODE = 'HW008';
    END IF;
    UPDATE control.platform AS p SET refused_rows_since = greatest(p.refused_rows_since, p_ended_by);
    DELETE FROM quarantine.rejected_rows AS q WHERE upper(q.window_range) <= p_ended_by;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END;
$$;

REVOKE EXECUTE ON FUNCTION control.delete_refused_rows FROM public;
GRANT EXECUTE ON FUNCTION control.delete_refused_rows TO operator;
