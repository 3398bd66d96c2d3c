-- The key columns of a row as an object, for keys of any number of columns; see audit._row_key().
-- A key column that is not there was renamed or dropped since the table was attached: then the
-- primary key as it is now.
CREATE OR REPLACE FUNCTION audit._wide_row_key(p_row jsonb, p_key_columns text[], p_table oid)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $_wide_row_key$
DECLARE
    v_names text[] := p_key_columns;
    v_name text;
    v_key jsonb := '{}'::jsonb;
BEGIN
    IF NOT p_row ?& v_names THEN
        v_names := audit._key_columns(p_table);
    END IF;
    IF v_names = '{}' THEN
        RETURN p_row;
    END IF;
    FOREACH v_name IN ARRAY v_names LOOP
        v_key := v_key || jsonb_build_object(v_name, p_row -> v_name);
    END LOOP;
    RETURN v_key;
END;
$_wide_row_key$;

COMMENT ON FUNCTION audit._wide_row_key(jsonb, text[], oid) IS
    'Internal: the key columns of a row as a JSON object; the whole row for a table without a key.';
REVOKE ALL ON FUNCTION audit._wide_row_key(jsonb, text[], oid) FROM PUBLIC;
