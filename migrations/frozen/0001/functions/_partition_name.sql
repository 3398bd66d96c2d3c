-- The name of the partition that starts at a time: pg_partman's own where it keeps the partitions.
CREATE OR REPLACE FUNCTION audit._partition_name(p_from timestamptz)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_partition_name$
DECLARE
    v_name text;
BEGIN
    IF (SELECT partition_backend FROM audit.setting) = 'native'
            OR audit._partman_remedy() IS NOT NULL THEN
        RETURN to_char(p_from, '"event_p"YYYYMMDD');
    END IF;
    EXECUTE format('SELECT partition_table FROM %I.show_partition_name($1, $2)',
                   audit._partman_schema())
       INTO v_name USING 'audit.event', p_from::text;
    RETURN v_name;
END;
$_partition_name$;

COMMENT ON FUNCTION audit._partition_name(timestamptz) IS
    'Internal: name of the partition of audit.event that starts at a time.';
REVOKE ALL ON FUNCTION audit._partition_name(timestamptz) FROM PUBLIC;
