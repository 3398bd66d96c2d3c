-- The tables whose events of a partition are older than they are kept. A table that a hold keeps
-- for all of the partition is left out, so that its events need not be looked at one by one.
CREATE OR REPLACE FUNCTION audit._expired_tables(p_from timestamptz, p_to timestamptz)
    RETURNS integer[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_expired_tables$
    SELECT COALESCE(array_agg(k.id), '{}')
      FROM audit.tracked_table AS k
     CROSS JOIN audit.setting AS s
     WHERE p_to + COALESCE(k.keep, s.keep) <= now()
       AND NOT EXISTS (
           SELECT FROM audit.legal_hold AS h
            WHERE h.released_at IS NULL AND h.row_key IS NULL
              AND (h.tracked_table_id IS NULL OR h.tracked_table_id = k.id)
              AND h.from_time <= p_from AND h.to_time >= p_to)
$_expired_tables$;

COMMENT ON FUNCTION audit._expired_tables(timestamptz, timestamptz) IS
    'Internal: ids of the tables whose events of a partition have expired.';
REVOKE ALL ON FUNCTION audit._expired_tables(timestamptz, timestamptz) FROM PUBLIC;
