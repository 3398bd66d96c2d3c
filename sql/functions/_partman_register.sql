-- Enter audit.event in the configuration of pg_partman (4.7 and 5.x), or renew what it says there.
-- Not create_parent(): that takes a table without partitions only, and names them otherwise in 4.7.
CREATE OR REPLACE FUNCTION audit._partman_register(p_interval text, p_premake integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_partman_register$
DECLARE
    v_type text := (SELECT CASE WHEN extversion LIKE '4.%' THEN 'native' ELSE 'range' END
                      FROM pg_extension WHERE extname = 'pg_partman');
BEGIN
    /* maintenance off: only we call it, since its own background worker may run in another time
       zone, and would then make partitions with other bounds */
    EXECUTE format('INSERT INTO %I.part_config (parent_table, control, partition_type, '
                   'partition_interval, premake, datetime_string, automatic_maintenance) '
                   'VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (parent_table) DO UPDATE '
                   'SET partition_interval = EXCLUDED.partition_interval, '
                   'premake = EXCLUDED.premake', audit._partman_schema())
      USING 'audit.event', 'started_at', v_type, ('1 ' || p_interval)::interval::text, p_premake,
            'YYYYMMDD', 'off';
END;
$_partman_register$;

COMMENT ON FUNCTION audit._partman_register(text, integer) IS
    'Internal: let pg_partman keep the partitions of the trail.';
REVOKE ALL ON FUNCTION audit._partman_register(text, integer) FROM PUBLIC;
