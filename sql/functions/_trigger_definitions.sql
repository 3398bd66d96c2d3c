-- The four triggers of an attached table, spelled as pg_get_triggerdef() prints them, so that
-- audit.attach() and audit.status() can tell by comparing text whether they are as they should be.
-- PostgreSQL fires triggers by name: the underscore puts ours before most others of the same event.
-- Virtual generated columns are left out: a trigger sees them as NULL.
CREATE OR REPLACE FUNCTION audit._trigger_definitions(
    p_table regclass,
    p_mode text,
    p_tracked_table_id integer,
    p_key_columns text[])
    RETURNS SETOF text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $_trigger_definitions$
    SELECT format(
        'CREATE TRIGGER _audit_%s AFTER %s ON %s %sFOR EACH %s EXECUTE FUNCTION audit.%s(%s)',
        t.name, t.event, p_table,
        CASE WHEN t.by_row OR t.event = 'TRUNCATE' THEN '' ELSE 'REFERENCING '
            || CASE WHEN t.event <> 'INSERT' THEN 'OLD TABLE AS old_rows ' ELSE '' END
            || CASE WHEN t.event <> 'DELETE' THEN 'NEW TABLE AS new_rows ' ELSE '' END END,
        CASE WHEN t.by_row THEN 'ROW' ELSE 'STATEMENT' END,
        'capture_' || CASE WHEN t.by_row THEN 'row' ELSE t.name END,
        (SELECT string_agg(format('''%s''', replace(a.value, '''', '''''')), ', '
                           ORDER BY a.position)
           FROM (VALUES (1, p_tracked_table_id::text), (2, p_key_columns::text),
                        (3, (SELECT COALESCE(array_agg(c.attname ORDER BY c.attnum), '{}')::text
                               FROM pg_attribute AS c
                              WHERE c.attrelid = p_table AND c.attgenerated = 'v'
                                AND NOT c.attisdropped))) AS a (position, value)
          WHERE a.position = 1 OR t.event <> 'TRUNCATE'))
      FROM (VALUES ('insert', 'INSERT', p_mode = 'row'),
                   ('update', 'UPDATE', p_mode = 'row'),
                   ('delete', 'DELETE', p_mode = 'row'),
                   ('truncate', 'TRUNCATE', false)) AS t (name, event, by_row)
$_trigger_definitions$;

COMMENT ON FUNCTION audit._trigger_definitions(regclass, text, integer, text[]) IS
    'Internal: the CREATE TRIGGER statements of an attached table.';
REVOKE ALL ON FUNCTION audit._trigger_definitions(regclass, text, integer, text[]) FROM PUBLIC;
