-- The key columns of a row as an object, for keys of any number of columns; see audit._row_key().
CREATE OR REPLACE FUNCTION audit._wide_row_key(p_row jsonb, p_key_columns text[])
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $_wide_row_key$
BEGIN
    IF p_key_columns = '{}' THEN
        RETURN p_row;
    END IF;
    RETURN (SELECT jsonb_object_agg(k, p_row -> k) FROM unnest(p_key_columns) AS k);
END;
$_wide_row_key$;

COMMENT ON FUNCTION audit._wide_row_key(jsonb, text[]) IS
    'Internal: the key columns of a row as a JSON object; the whole row for a table without a key.';
REVOKE ALL ON FUNCTION audit._wide_row_key(jsonb, text[]) FROM PUBLIC;
