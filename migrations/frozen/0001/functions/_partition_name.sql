-- The name of the partition that starts at a time, in the form of pg_partman 5. Only a period that
-- begins where a partition made by hand ends can start within a day.
CREATE OR REPLACE FUNCTION audit._partition_name(p_from timestamptz)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_partition_name$
    SELECT to_char(p_from, CASE WHEN p_from = date_trunc('day', p_from) THEN '"event_p"YYYYMMDD'
                                ELSE '"event_p"YYYYMMDD_HH24MISSUS' END)
$_partition_name$;

COMMENT ON FUNCTION audit._partition_name(timestamptz) IS
    'Internal: name of the partition of audit.event that starts at a time.';
REVOKE ALL ON FUNCTION audit._partition_name(timestamptz) FROM PUBLIC;
