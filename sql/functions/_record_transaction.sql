-- Write the row of the running transaction in audit.transaction, if it is not there yet.
-- Called by the capture functions after they wrote an event, and runs with their rights and
-- settings. The unique index decides, so the row is right under savepoints: what was rolled back is
-- written again. A look-up first would lock every partition (its plan prunes only when it runs)
-- and make serializable transactions conflict; a setting as marker could be forged.
CREATE OR REPLACE FUNCTION audit._record_transaction()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_record_transaction$
DECLARE
    /* once set locally, a setting reads '' for the rest of the session, not NULL */
    v_context jsonb := NULLIF(current_setting('audit.context', true), '')::jsonb;
BEGIN
    IF jsonb_typeof(v_context) <> 'object' THEN
        RAISE EXCEPTION 'setting audit.context must be a JSON object, got %', v_context
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Set it with audit.set_context(actor, metadata).';
    END IF;

    INSERT INTO audit.transaction (
        started_at, xid, backend_pid, client_port, client_addr,
        database_user, database_role, application_name,
        actor, actor_type, actor_label, metadata)
    VALUES (
        now(), txid_current(), pg_backend_pid(), inet_client_port(), inet_client_addr(),
        session_user, NULLIF(current_setting('role'), 'none'),
        NULLIF(current_setting('application_name'), ''),
        v_context ->> 'actor', v_context ->> 'actor_type', v_context ->> 'actor_label',
        v_context -> 'metadata')
    ON CONFLICT DO NOTHING;
END;
$_record_transaction$;

COMMENT ON FUNCTION audit._record_transaction() IS
    'Internal: write the running transaction with its context into audit.transaction, once.';
REVOKE ALL ON FUNCTION audit._record_transaction() FROM PUBLIC;
