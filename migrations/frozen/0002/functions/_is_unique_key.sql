-- Whether a table can have no two rows with the same values in these columns.
CREATE OR REPLACE FUNCTION audit._is_unique_key(p_table oid, p_key_columns text[])
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_is_unique_key$
    SELECT EXISTS (
        SELECT FROM pg_index AS i
         WHERE i.indrelid = p_table AND i.indisunique AND i.indisvalid
           AND i.indpred IS NULL AND i.indexprs IS NULL
           AND NOT EXISTS (
               SELECT FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
                 JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE k.position <= i.indnkeyatts
                  AND NOT (a.attnotnull AND a.attname = ANY (p_key_columns))))
$_is_unique_key$;

COMMENT ON FUNCTION audit._is_unique_key(oid, text[]) IS
    'Internal: whether a unique index over columns that are never NULL makes them a key.';
REVOKE ALL ON FUNCTION audit._is_unique_key(oid, text[]) FROM PUBLIC;
