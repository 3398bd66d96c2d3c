-- The four triggers of an attached table, spelled as pg_get_triggerdef() prints them, so that
-- audit.attach() and audit.status() can tell by comparing text whether they are as they should be.
-- PostgreSQL fires triggers by name: the underscore puts ours before most others of the same event.
CREATE OR REPLACE FUNCTION audit._trigger_definitions(
    p_table regclass,
    p_tracked audit.tracked_table)
    RETURNS SETOF text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $_trigger_definitions$
    SELECT format(
        'CREATE TRIGGER _audit_%s %s %s ON %s %sFOR EACH %s EXECUTE FUNCTION audit.%s(%s)',
        t.name,
        CASE WHEN t.event = 'TRUNCATE' AND p_tracked.truncated_rows THEN 'BEFORE' ELSE 'AFTER' END,
        t.event, p_table,
        CASE WHEN t.by_row OR t.event = 'TRUNCATE' THEN '' ELSE 'REFERENCING '
            || CASE WHEN t.event <> 'INSERT' THEN 'OLD TABLE AS old_rows ' ELSE '' END
            || CASE WHEN t.event <> 'DELETE' THEN 'NEW TABLE AS new_rows ' ELSE '' END END,
        CASE WHEN t.by_row THEN 'ROW' ELSE 'STATEMENT' END,
        'capture_' || CASE WHEN t.by_row THEN 'row' ELSE t.name END,
        (SELECT string_agg(format('''%s''', replace(a.value, '''', '''''')), ', '
                           ORDER BY a.position)
           FROM (VALUES (1, p_tracked.id::text),
                        (2, p_tracked.key_columns::text),
                        (3, audit._policy_argument(p_table, p_tracked.policy)),
                        (4, CASE WHEN p_tracked.require_actor THEN 'require_actor' END))
                AS a (position, value)
          WHERE a.value IS NOT NULL
            AND (a.position IN (1, 4) OR t.event <> 'TRUNCATE' OR p_tracked.truncated_rows)))
      FROM (VALUES ('insert', 'INSERT', p_tracked.mode = 'row'),
                   ('update', 'UPDATE', p_tracked.mode = 'row'),
                   ('delete', 'DELETE', p_tracked.mode = 'row'),
                   ('truncate', 'TRUNCATE', false)) AS t (name, event, by_row)
$_trigger_definitions$;

COMMENT ON FUNCTION audit._trigger_definitions(regclass, audit.tracked_table) IS
    'Internal: the CREATE TRIGGER statements of an attached table.';
REVOKE ALL ON FUNCTION audit._trigger_definitions(regclass, audit.tracked_table) FROM PUBLIC;
