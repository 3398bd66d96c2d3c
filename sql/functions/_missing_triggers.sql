-- The triggers that a table lacks, or that were disabled or altered: their proper definitions.
CREATE OR REPLACE FUNCTION audit._missing_triggers(
    p_table regclass,
    p_tracked audit.tracked_table)
    RETURNS SETOF text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $_missing_triggers$
    SELECT wanted
      FROM audit._trigger_definitions(p_table, p_tracked) AS wanted
     WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                        WHERE t.tgrelid = p_table AND pg_get_triggerdef(t.oid) = wanted
                          AND t.tgenabled = CASE WHEN p_tracked.enable_always THEN 'A'
                                                 ELSE 'O' END)
$_missing_triggers$;

COMMENT ON FUNCTION audit._missing_triggers(regclass, audit.tracked_table) IS
    'Internal: definitions of the triggers that an attached table should have and has not.';
REVOKE ALL ON FUNCTION audit._missing_triggers(regclass, audit.tracked_table) FROM PUBLIC;
