-- Remove the events that are older than they are kept from one partition, the oldest that has any.
-- Only partitions that no open transaction can write to, and with archives only what is archived.
-- One partition at a time: what is left is for the next run, which is within the hour.
CREATE OR REPLACE FUNCTION audit._expire_events(OUT removed bigint, OUT message text)
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET jit = off
AS $_expire_events$
DECLARE
    v_partition record;
    v_found boolean;
BEGIN
    removed := 0;
    FOR v_partition IN
        SELECT p.partition, p.from_time, p.to_time,
               audit._expired_tables(p.from_time, p.to_time) AS tables
          FROM audit.partition AS p
         WHERE p.to_time <= (SELECT counted_to FROM audit.counting)
         ORDER BY p.from_time
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM unnest($1) AS k (id) CROSS JOIN LATERAL ('
                       'SELECT FROM audit.%I AS e WHERE e.tracked_table_id = k.id LIMIT 1) AS e)',
                       v_partition.partition)
           INTO v_found USING v_partition.tables;
        IF v_found AND NOT audit._may_expire(v_partition.partition, v_partition.from_time,
                                             v_partition.to_time) THEN
            message := COALESCE(message, format('expired, but kept until it is archived: %s',
                                                v_partition.partition));
        ELSIF v_found THEN
            removed := audit._expire_partition(
                v_partition.partition, v_partition.from_time, v_partition.to_time,
                v_partition.tables);
        END IF;
        EXIT WHEN removed > 0;
    END LOOP;
END;
$_expire_events$;

COMMENT ON FUNCTION audit._expire_events() IS
    'Internal: remove the expired events of one partition; how many, and what is not archived '
    'yet.';
REVOKE ALL ON FUNCTION audit._expire_events() FROM PUBLIC;
