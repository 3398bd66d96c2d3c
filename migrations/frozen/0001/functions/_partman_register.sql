-- Hand audit.event to pg_partman (4.7 and 5.x), current period first.
-- Called by audit._start_partitions() while it has no partitions.
CREATE OR REPLACE FUNCTION audit._partman_register(p_interval text, p_premake integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_partman_register$
DECLARE
    v_schema name := audit._partman_schema();
    v_old boolean := (SELECT extversion LIKE '4.%' FROM pg_extension WHERE extname = 'pg_partman');
BEGIN
    /* by name, since the order changed in 5.0; without a date to truncate to, a week would
       start on today's weekday */
    EXECUTE format('SELECT %I.create_parent(p_parent_table := $1, p_control := $2, '
                   'p_interval := $3, p_premake := $4, p_start_partition := $5, '
                   'p_date_trunc_interval := $6 %s)',
                   v_schema, CASE WHEN v_old THEN ', p_type := ''native''' ELSE '' END)
      USING 'audit.event', 'started_at', '1 ' || p_interval, p_premake,
            date_trunc(p_interval, now())::text,
            CASE WHEN p_interval = 'week' THEN 'week' END;
    /* only we call it: its own background worker may run in another time zone, and would then
       make partitions with other bounds */
    EXECUTE format('UPDATE %I.part_config SET automatic_maintenance = ''off'' '
                   'WHERE parent_table = $1', v_schema) USING 'audit.event';
END;
$_partman_register$;

COMMENT ON FUNCTION audit._partman_register(text, integer) IS
    'Internal: let pg_partman keep the partitions of the trail.';
REVOKE ALL ON FUNCTION audit._partman_register(text, integer) FROM PUBLIC;
