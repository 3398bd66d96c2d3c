-- The key columns to capture a table with: as told, else the primary key, else none. Refuses what
-- cannot identify a row, and says so where a row_key may be shared.
CREATE OR REPLACE FUNCTION audit._check_key(p_table regclass, p_key_columns text[])
    RETURNS text[]
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_key$
DECLARE
    v_key_columns text[] := COALESCE(p_key_columns, audit._key_columns(p_table));
    v_unknown text;
BEGIN
    SELECT name INTO v_unknown FROM unnest(v_key_columns) AS name
     WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                        WHERE a.attrelid = p_table AND a.attname = name
                          AND a.attnum > 0 AND NOT a.attisdropped);
    IF FOUND THEN
        RAISE EXCEPTION 'table % has no column %', p_table, quote_nullable(v_unknown)
            USING ERRCODE = 'undefined_column',
                  HINT = 'Name the columns that identify a row, or none for the primary key.';
    ELSIF array_ndims(v_key_columns) > 1 THEN
        RAISE EXCEPTION 'key columns must be a list, got %', v_key_columns
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name each column once, such as ''{tenant,id}''.';
    ELSIF audit._is_unique_key(p_table, v_key_columns) THEN
        RETURN v_key_columns;
    ELSIF v_key_columns = '{}' THEN
        RAISE NOTICE 'table % has no primary key: each event carries the whole row as row_key',
            p_table USING HINT = 'Add a primary key, or name the columns that identify a row.';
    ELSE
        RAISE NOTICE 'no unique index of table % covers its key columns: rows may share a row_key',
            p_table USING HINT = 'Add one, or name columns that are unique and NOT NULL.';
    END IF;
    RETURN v_key_columns;
END;
$_check_key$;

COMMENT ON FUNCTION audit._check_key(regclass, text[]) IS
    'Internal: the key columns to capture a table with; raises an error for unusable ones.';
REVOKE ALL ON FUNCTION audit._check_key(regclass, text[]) FROM PUBLIC;
