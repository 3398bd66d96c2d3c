-- Refuse a write to a table that requires an actor. Called by the capture functions.
CREATE OR REPLACE FUNCTION audit._refuse_anonymous(p_table regclass)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_refuse_anonymous$
BEGIN
    RAISE EXCEPTION 'table % requires an actor, and this transaction has none', p_table
        USING ERRCODE = 'check_violation',
              HINT = 'Call audit.set_context(actor, ...) before, in the same transaction.';
END;
$_refuse_anonymous$;

COMMENT ON FUNCTION audit._refuse_anonymous(regclass) IS
    'Internal: raise an error for a write that nobody answers for.';
REVOKE ALL ON FUNCTION audit._refuse_anonymous(regclass) FROM PUBLIC;
