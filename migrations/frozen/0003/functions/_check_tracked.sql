-- The id of a table in audit.tracked_table; an error for one that never was attached.
CREATE OR REPLACE FUNCTION audit._check_tracked(p_table regclass)
    RETURNS integer
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_tracked$
DECLARE
    v_id integer := audit._tracked_table_id(p_table);
BEGIN
    IF v_id IS NULL THEN
        RAISE EXCEPTION 'table % was never attached', COALESCE(p_table::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT audit.attach(%L); records its changes from then on.',
                                p_table);
    END IF;
    RETURN v_id;
END;
$_check_tracked$;

COMMENT ON FUNCTION audit._check_tracked(regclass) IS
    'Internal: id of a table in audit.tracked_table; raises object_not_in_prerequisite_state when '
    'unknown.';
REVOKE ALL ON FUNCTION audit._check_tracked(regclass) FROM PUBLIC;
