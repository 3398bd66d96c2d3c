-- Remove the expired events of one partition: drop it, or where others are kept, put in its place a
-- copy of these. Nobody writes to it any more, so only the exchange takes a lock that writers wait
-- for, and it waits for them no longer than the lock timeout of the caller, five times.
-- What a kept event has its context from may have expired: it then gets the context itself.
CREATE OR REPLACE FUNCTION audit._expire_partition(
    p_partition text,
    p_from timestamptz,
    p_to timestamptz,
    p_tables integer[])
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET jit = off
AS $_expire_partition$
DECLARE
    c_expired CONSTANT text :=
        '%1$I.tracked_table_id = ANY ($1) AND NOT EXISTS (SELECT FROM audit.legal_hold AS h '
        'WHERE h.released_at IS NULL '
        'AND COALESCE(h.tracked_table_id, %1$I.tracked_table_id) = %1$I.tracked_table_id '
        'AND (h.row_key IS NULL OR h.row_key = %1$I.row_key) '
        'AND h.from_time <= %1$I.started_at AND h.to_time > %1$I.started_at)';
    v_copy text := p_partition || '_kept';
    v_expired jsonb;
    v_kept bigint;
BEGIN
    EXECUTE format('SELECT jsonb_object_agg(id, events) FROM (SELECT e.tracked_table_id, count(*) '
                   'FROM audit.%I AS e WHERE %s GROUP BY 1) AS c (id, events)',
                   p_partition, format(c_expired, 'e'))
       INTO v_expired USING p_tables;
    IF v_expired IS NULL THEN
        RETURN 0;  -- all of it under hold
    END IF;
    /* without the indexes of a profile: it is closed again, under its own name */
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.event INCLUDING ALL EXCLUDING IDENTITY)',
                   v_copy);
    EXECUTE format(
        'INSERT INTO audit.%1$I SELECT (k.event).* FROM ('
        '    SELECT CASE WHEN c.id IS NULL THEN e ELSE jsonb_populate_record(e, '
        '               to_jsonb(c) - ARRAY[''id'', ''occurred_at'', ''row_hash'', ''row_key'', '
        '                                   ''old_values'', ''new_values'']) END AS event '
        '      FROM audit.%2$I AS e LEFT JOIN audit.%2$I AS c '
        '        ON c.started_at = e.started_at AND c.id = e.context_id AND %3$s '
        '     WHERE (%4$s) IS NOT TRUE ORDER BY e.started_at, e.id OFFSET 0) AS k',
        v_copy, p_partition, format(c_expired, 'c'), format(c_expired, 'e'))
      USING p_tables;
    GET DIAGNOSTICS v_kept = ROW_COUNT;
    EXECUTE format('ANALYZE audit.%I', v_copy);
    /* so that it need not be read again when it is attached */
    EXECUTE format('ALTER TABLE audit.%I ADD CONSTRAINT in_period CHECK (started_at >= %L AND '
                   'started_at < %L)', v_copy, p_from, p_to);

    PERFORM audit._count_period(p_from, p_to, format('audit.%I', v_copy)::regclass);
    PERFORM audit._record_act(t.id::integer, 'expire', jsonb_build_object(
                'from_time', p_from, 'to_time', p_to, 'events', t.events), NULL)
       FROM jsonb_each(v_expired) AS t (id, events);

    PERFORM audit._lock_partitions('ACCESS EXCLUSIVE');
    EXECUTE format('ALTER TABLE audit.event DETACH PARTITION audit.%I', p_partition);
    EXECUTE format('DROP TABLE audit.%I', p_partition);
    IF v_kept > 0 THEN
        EXECUTE format('ALTER TABLE audit.%I RENAME TO %I', v_copy, p_partition);
        EXECUTE format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%L) '
                       'TO (%L)', p_partition, p_from, p_to);
        EXECUTE format('ALTER TABLE audit.%I DROP CONSTRAINT in_period', p_partition);
        PERFORM audit._guard_partitions();
    ELSE
        EXECUTE format('DROP TABLE audit.%I', v_copy);
    END IF;
    RETURN (SELECT sum(t.events::bigint) FROM jsonb_each(v_expired) AS t (id, events));
END;
$_expire_partition$;

COMMENT ON FUNCTION audit._expire_partition(text, timestamptz, timestamptz, integer[]) IS
    'Internal: remove the events of these tables from a partition, but for those under a legal '
    'hold; returns how many.';
REVOKE ALL ON FUNCTION audit._expire_partition(text, timestamptz, timestamptz, integer[])
    FROM PUBLIC;
