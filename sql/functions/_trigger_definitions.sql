-- The four triggers of an attached table, spelled as pg_get_triggerdef() prints them, so that
-- audit.attach() can tell by comparing text whether there is anything to do.
-- PostgreSQL fires triggers by name: the underscore puts ours before others of the same event.
CREATE OR REPLACE FUNCTION audit._trigger_definitions(
    p_table regclass,
    p_mode text,
    p_tracked_table_id integer,
    p_key_columns text[])
    RETURNS SETOF text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_trigger_definitions$
    SELECT format(
        'CREATE TRIGGER _audit_%s AFTER %s ON %s %sFOR EACH %s %sEXECUTE FUNCTION audit.%s(%s)',
        lower(t.event), t.event, p_table,
        CASE WHEN t.by_row OR t.event = 'TRUNCATE' THEN '' ELSE 'REFERENCING '
            || CASE WHEN t.event <> 'INSERT' THEN 'OLD TABLE AS old_rows ' ELSE '' END
            || CASE WHEN t.event <> 'DELETE' THEN 'NEW TABLE AS new_rows ' ELSE '' END END,
        CASE WHEN t.by_row THEN 'ROW' ELSE 'STATEMENT' END,
        -- a no-op update is skipped before PL/pgSQL runs; *<> compares what is stored, so it
        -- needs no equality operator (json has none) and sees 1.0 become 1.00
        CASE WHEN t.by_row AND t.event = 'UPDATE' THEN 'WHEN ((old.* *<> new.*)) ' ELSE '' END,
        CASE WHEN t.event = 'TRUNCATE' THEN 'capture_truncate'
             WHEN t.by_row THEN 'capture_row' ELSE 'capture_statement' END,
        CASE WHEN t.event = 'TRUNCATE' THEN quote_literal(p_tracked_table_id)
             ELSE format('%L, %L', p_tracked_table_id, p_key_columns) END)
      FROM (VALUES ('INSERT', p_mode = 'row'), ('UPDATE', p_mode <> 'statement'),
                   ('DELETE', p_mode = 'row'), ('TRUNCATE', false)) AS t (event, by_row)
$_trigger_definitions$;

COMMENT ON FUNCTION audit._trigger_definitions(regclass, text, integer, text[]) IS
    'Internal: the CREATE TRIGGER statements of an attached table.';
REVOKE ALL ON FUNCTION audit._trigger_definitions(regclass, text, integer, text[]) FROM PUBLIC;
