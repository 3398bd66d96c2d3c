-- Capture the changes of a table from now on.
-- Runs with the caller's rights: making triggers needs the TRIGGER privilege on the table.
-- Safe to run again: a table attached the same way is left alone and not locked. Otherwise
-- CREATE TRIGGER waits for running writers and others queue behind it; set lock_timeout first.
CREATE OR REPLACE FUNCTION audit.attach(
    p_table regclass,
    p_mode text DEFAULT 'hybrid',
    p_key_columns text[] DEFAULT NULL)
    RETURNS integer
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $attach$
DECLARE
    v_key_columns text[] := p_key_columns;
    v_mode text := p_mode;
    v_unknown text;
    v_id integer;
    v_definition text;
BEGIN
    PERFORM audit._check_attachable(p_table);
    IF p_mode IS NULL OR p_mode NOT IN ('hybrid', 'statement', 'row') THEN
        RAISE EXCEPTION 'unknown capture mode %', quote_nullable(p_mode)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use hybrid (the default), statement or row.';
    END IF;

    /* the key: as told, else the primary key, else none */
    IF v_key_columns IS NULL THEN
        SELECT COALESCE(array_agg(a.attname::text ORDER BY k.position), '{}') INTO v_key_columns
          FROM pg_index AS i
         CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
          JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE i.indrelid = p_table AND i.indisprimary;
    END IF;
    SELECT name INTO v_unknown FROM unnest(v_key_columns) AS name
     WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                        WHERE a.attrelid = p_table AND a.attname = name
                          AND a.attnum > 0 AND NOT a.attisdropped);
    IF FOUND THEN
        RAISE EXCEPTION 'table % has no column %', p_table, quote_nullable(v_unknown)
            USING ERRCODE = 'undefined_column',
                  HINT = 'Name the columns that identify a row, or none for the primary key.';
    ELSIF v_key_columns = '{}' AND p_mode = 'statement' THEN
        RAISE EXCEPTION 'table % has no primary key, which statement mode needs', p_table
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Use hybrid or row mode, or name the columns that identify a row.';
    ELSIF v_key_columns = '{}' THEN
        RAISE NOTICE 'table % has no primary key: each event carries the whole row as row_key',
            p_table USING HINT = 'Add a primary key, or name the columns that identify a row.';
    END IF;

    /* PostgreSQL has no transition tables for rows that are routed to partitions */
    IF (SELECT relkind FROM pg_class WHERE oid = p_table) = 'p' THEN
        IF p_mode = 'statement' THEN
            RAISE EXCEPTION 'table % is partitioned, and statement mode would miss rows written '
                    'straight to a partition', p_table
                USING ERRCODE = 'feature_not_supported', HINT = 'Use hybrid or row mode.';
        END IF;
        v_mode := 'row';
    END IF;

    v_id := audit._register_table(p_table, v_mode, v_key_columns);
    FOR v_definition IN
        SELECT wanted FROM audit._trigger_definitions(p_table, v_mode, v_id, v_key_columns) AS wanted
         WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                            WHERE t.tgrelid = p_table AND t.tgenabled IN ('O', 'A')
                              AND pg_get_triggerdef(t.oid) = wanted)
    LOOP
        EXECUTE overlay(v_definition PLACING 'CREATE OR REPLACE' FROM 1 FOR 6);
    END LOOP;
    RETURN v_id;
END;
$attach$;

COMMENT ON FUNCTION audit.attach(regclass, text, text[]) IS
    'Start to record the changes of a table; returns its id in audit.tracked_table. Modes: hybrid '
    '(INSERT and DELETE per statement, UPDATE per row), statement, row; a partitioned table is '
    'always captured per row. Key columns default to the primary key; a table without one is '
    'allowed, its row_key is the whole row. Safe to run again. Needs the TRIGGER privilege on the '
    'table. Raises wrong_object_type, undefined_column, invalid_parameter_value, '
    'insufficient_privilege, feature_not_supported.';
REVOKE ALL ON FUNCTION audit.attach(regclass, text, text[]) FROM PUBLIC;
