-- The bounds of a partition. They exist as text only, which depends on settings: fixed here.
CREATE OR REPLACE FUNCTION audit._partition_bounds(
    p_partition oid,
    OUT from_time timestamptz,
    OUT to_time timestamptz)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
AS $_partition_bounds$
    SELECT split_part(b.text, '''', 2)::timestamptz, split_part(b.text, '''', 4)::timestamptz
      FROM (SELECT replace(replace(pg_get_expr(relpartbound, oid),
                           'MINVALUE', quote_literal('-infinity')),
                           'MAXVALUE', quote_literal('infinity'))
              FROM pg_class WHERE oid = p_partition) AS b (text)
     WHERE b.text <> 'DEFAULT'
$_partition_bounds$;

COMMENT ON FUNCTION audit._partition_bounds(oid) IS
    'Internal: bounds of a partition of the trail; NULL for the DEFAULT partition.';
REVOKE ALL ON FUNCTION audit._partition_bounds(oid) FROM PUBLIC;
