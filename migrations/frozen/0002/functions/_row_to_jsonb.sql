-- A row as JSON where that may run code of others: to_jsonb() calls the casts to json that owners
-- of types have made. SECURITY DEFINER, owned by a role without any right: such code must not run
-- with those of capture. It cannot write, and runs in a subtransaction that is always rolled back,
-- so whatever it changes (settings, this very function) is gone before capture goes on. Variables
-- survive the rollback. No xid is taken, so nothing overflows.
CREATE OR REPLACE FUNCTION audit._row_to_jsonb(p_row anyelement)
    RETURNS jsonb
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_row_to_jsonb$
DECLARE
    v_row jsonb;
    v_done boolean := false;
BEGIN
    BEGIN
        PERFORM set_config('transaction_read_only', 'on', true);
        v_row := to_jsonb(p_row);
        v_done := true;
        RAISE EXCEPTION USING ERRCODE = 'transaction_rollback';
    EXCEPTION WHEN transaction_rollback THEN
        IF NOT v_done THEN
            RAISE;  -- not ours
        END IF;
    END;
    RETURN v_row;
END;
$_row_to_jsonb$;

COMMENT ON FUNCTION audit._row_to_jsonb(anyelement) IS
    'Internal: a row as JSON, converted without any right or lasting effect.';
REVOKE ALL ON FUNCTION audit._row_to_jsonb(anyelement) FROM PUBLIC;
