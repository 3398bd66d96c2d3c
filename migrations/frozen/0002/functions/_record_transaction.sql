-- Write the row of the running transaction in audit.transaction, if it is not there yet.
-- Called by the capture functions after they wrote an event, and runs with their rights and
-- settings. The look-up sees what this transaction wrote and did not roll back, so the row is
-- right under savepoints; a setting as marker would be cheaper, but any session could forge it.
CREATE OR REPLACE FUNCTION audit._record_transaction()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_record_transaction$
DECLARE
    v_context jsonb;
BEGIN
    IF EXISTS (SELECT FROM audit.transaction AS t
                WHERE t.started_at = now() AND t.xid = txid_current()) THEN
        RETURN;
    END IF;

    /* once set locally, a setting reads '' for the rest of the session, not NULL */
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
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
        v_context -> 'metadata');
END;
$_record_transaction$;

COMMENT ON FUNCTION audit._record_transaction() IS
    'Internal: write the running transaction with its context into audit.transaction, once.';
REVOKE ALL ON FUNCTION audit._record_transaction() FROM PUBLIC;
