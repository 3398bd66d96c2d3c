-- The mode to capture a table in: rows that belong to a tree of tables are captured one by one.
-- PostgreSQL has no transition tables for rows that reach a table through its parent.
CREATE OR REPLACE FUNCTION audit._check_mode(p_table regclass, p_mode text)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_mode$
DECLARE
    v_partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = p_table);
    v_apart text;
BEGIN
    IF p_mode IS NULL OR p_mode NOT IN ('statement', 'row') THEN
        RAISE EXCEPTION 'unknown capture mode %', quote_nullable(p_mode)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use statement (the default) or row.';
    ELSIF NOT v_partitioned AND NOT EXISTS (
            SELECT FROM pg_inherits WHERE p_table IN (inhparent, inhrelid)) THEN
        RETURN p_mode;
    END IF;

    SELECT string_agg(i.inhrelid::regclass::text, ', ') INTO v_apart
      FROM pg_inherits AS i
     WHERE i.inhparent = p_table AND NOT v_partitioned
       AND NOT EXISTS (SELECT FROM pg_trigger AS t
                        WHERE t.tgrelid = i.inhrelid AND t.tgname = '_audit_truncate');
    IF v_apart IS NOT NULL THEN
        RAISE NOTICE 'tables that inherit from % are not captured: %', p_table, v_apart
            USING HINT = 'Attach each of them, too.';
    END IF;
    RETURN 'row';
END;
$_check_mode$;

COMMENT ON FUNCTION audit._check_mode(regclass, text) IS
    'Internal: the mode to capture a table in; raises an error for an unusable one.';
REVOKE ALL ON FUNCTION audit._check_mode(regclass, text) FROM PUBLIC;
