-- The type through which a value of a key column may go: that of the column, or under its domain,
-- if it is PostgreSQL's own; else text. Without the length it cuts and rounds nothing.
CREATE OR REPLACE FUNCTION audit._key_type(p_table oid, p_column text, p_with_length boolean)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_key_type$
    WITH RECURSIVE base (type, modifier) AS (
        SELECT a.atttypid, a.atttypmod FROM pg_attribute AS a
         WHERE a.attrelid = p_table AND a.attname = p_column AND NOT a.attisdropped
        UNION ALL
        SELECT t.typbasetype, t.typtypmod FROM base JOIN pg_type AS t ON t.oid = base.type
         WHERE t.typtype = 'd')
    SELECT COALESCE(
        (SELECT CASE WHEN p_with_length THEN format_type(t.oid, base.modifier)
                     WHEN t.typname = 'bpchar' THEN 'bpchar'
                     ELSE format_type(t.oid, NULL) END
           FROM base JOIN pg_type AS t ON t.oid = base.type
          WHERE t.typtype <> 'd' AND t.typnamespace = 'pg_catalog'::regnamespace), 'text')
$_key_type$;

COMMENT ON FUNCTION audit._key_type(oid, text, boolean) IS
    'Internal: the type through which a value of a key column may go.';
REVOKE ALL ON FUNCTION audit._key_type(oid, text, boolean) FROM PUBLIC;
