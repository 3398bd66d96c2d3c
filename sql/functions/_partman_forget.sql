-- Take audit.event out of pg_partman's configuration. Where that is out of reach (no longer
-- granted), say what may be left there.
CREATE OR REPLACE FUNCTION audit._partman_forget()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_partman_forget$
BEGIN
    IF (SELECT partition_backend FROM audit.setting) <> 'pg_partman'
            OR audit._partman_schema() IS NULL THEN
        RETURN;
    ELSIF audit._partman_remedy() IS NOT NULL THEN
        RAISE NOTICE 'the configuration of pg_partman is out of reach and may still name '
            'audit.event'
            USING HINT = format('Have a DBA run: DELETE FROM %I.part_config '
                                'WHERE parent_table = ''audit.event'';', audit._partman_schema());
        RETURN;
    END IF;
    EXECUTE format('DELETE FROM %I.part_config WHERE parent_table = $1', audit._partman_schema())
      USING 'audit.event';
END;
$_partman_forget$;

COMMENT ON FUNCTION audit._partman_forget() IS
    'Internal: remove audit.event from the configuration of pg_partman.';
REVOKE ALL ON FUNCTION audit._partman_forget() FROM PUBLIC;
