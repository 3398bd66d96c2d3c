-- Make the first partitions of the trail, by pg_partman where it can be used.
-- Called by audit.set_partitioning() while there are none.
CREATE OR REPLACE FUNCTION audit._start_partitions(p_interval text, p_premake integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_start_partitions$
DECLARE
    v_remedy text := audit._partman_remedy();
BEGIN
    CREATE TABLE audit.event_default PARTITION OF audit.event DEFAULT;
    IF v_remedy IS NULL THEN
        BEGIN
            UPDATE audit.setting SET partition_backend = 'pg_partman';
            PERFORM audit._partman_register(p_interval, p_premake);
            PERFORM audit._create_partitions();
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            v_remedy := format('mend this error of pg_partman: %s', SQLERRM);
        END;
    END IF;
    UPDATE audit.setting SET partition_backend = 'native';
    RAISE NOTICE 'partitions are kept by audit_schema itself: pg_partman cannot be used here'
        USING HINT = format('To use it, have a DBA do this: %s Then: '
                            'SELECT audit.set_partition_backend(''pg_partman'');', v_remedy);
    PERFORM audit._create_partitions();
END;
$_start_partitions$;

COMMENT ON FUNCTION audit._start_partitions(text, integer) IS
    'Internal: make the first partitions, by pg_partman where it can be used.';
REVOKE ALL ON FUNCTION audit._start_partitions(text, integer) FROM PUBLIC;
