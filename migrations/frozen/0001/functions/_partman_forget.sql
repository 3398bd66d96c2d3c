-- Take audit.event out of pg_partman's configuration, with its template table. Where that is
-- out of reach (dropped, or no longer granted), say what may be left there.
CREATE OR REPLACE FUNCTION audit._partman_forget()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_partman_forget$
DECLARE
    v_template text;
BEGIN
    IF (SELECT partition_backend FROM audit.setting) <> 'pg_partman' THEN
        RETURN;
    ELSIF audit._partman_remedy() IS NOT NULL THEN
        RAISE NOTICE 'the configuration of pg_partman is out of reach and may still name '
            'audit.event'
            USING HINT = 'Have a DBA delete the row of part_config and its template table.';
        RETURN;
    END IF;
    EXECUTE format('DELETE FROM %I.part_config WHERE parent_table = $1 RETURNING template_table',
                   audit._partman_schema())
       INTO v_template USING 'audit.event';
    IF v_template IS NOT NULL THEN
        EXECUTE format('DROP TABLE IF EXISTS %s', v_template::regclass);
    END IF;
END;
$_partman_forget$;

COMMENT ON FUNCTION audit._partman_forget() IS
    'Internal: remove audit.event from the configuration of pg_partman.';
REVOKE ALL ON FUNCTION audit._partman_forget() FROM PUBLIC;
