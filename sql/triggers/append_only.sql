-- Refuse UPDATE, DELETE and TRUNCATE on audit.event and each of its partitions.
-- Nobody else may do that anyway: this keeps the owner and superusers from an accident. Whoever
-- means it disables the trigger, which is DDL, and seen by audit.status(). Fired BEFORE each
-- statement, and not for INSERT, so that it costs capture nothing. Maintenance moves rows out of
-- DEFAULT: audit._bring_home() is told by its name, which only the owner can give to a function.
CREATE OR REPLACE FUNCTION audit.append_only()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $append_only$
DECLARE
    v_context text;
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'event_default' THEN
        GET DIAGNOSTICS v_context = PG_CONTEXT;
        IF v_context ~ ' audit\._bring_home\((timestamp with time zone,?){2}\)' THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION '% on %.% is refused: the audit trail is append-only',
            TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = format('To give up a whole period, detach its partition and drop it. To '
                  'change events all the same, in one transaction: ALTER TABLE %1$I.%2$I DISABLE '
                  'TRIGGER %3$I; ...; ALTER TABLE %1$I.%2$I ENABLE ALWAYS TRIGGER %3$I;',
                  TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_NAME);
END;
$append_only$;

COMMENT ON FUNCTION audit.append_only() IS
    'Trigger function: refuse to change or remove events. On audit.event and its partitions.';
REVOKE ALL ON FUNCTION audit.append_only() FROM PUBLIC;
