-- The columns of the primary key of a table, in their order; none where it has no primary key.
CREATE OR REPLACE FUNCTION audit._key_columns(p_table oid)
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_key_columns$
    SELECT COALESCE(array_agg(a.attname::text ORDER BY k.position), '{}')
      FROM pg_index AS i
     CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
      JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     WHERE i.indrelid = p_table AND i.indisprimary AND k.position <= i.indnkeyatts
$_key_columns$;

COMMENT ON FUNCTION audit._key_columns(oid) IS
    'Internal: columns of the primary key of a table; empty when it has none.';
REVOKE ALL ON FUNCTION audit._key_columns(oid) FROM PUBLIC;
