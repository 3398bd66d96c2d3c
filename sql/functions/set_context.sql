-- Say who acts, and why, for the rest of the running transaction.
-- Runs with the caller's rights and only sets the setting audit.context, which capture reads with
-- each statement that changes rows. Replaces what an earlier call set. What the server
-- knows itself (session user, client address, ...) is recorded too and cannot be set.
CREATE OR REPLACE FUNCTION audit.set_context(
    p_actor text,
    p_metadata jsonb DEFAULT NULL,
    p_actor_type text DEFAULT NULL,
    p_actor_label text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $set_context$
BEGIN
    IF p_actor = '' THEN
        RAISE EXCEPTION 'actor must not be empty'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass the identity of who acts, or NULL when nobody does.';
    END IF;
    IF octet_length(p_actor) > 2500 THEN
        RAISE EXCEPTION 'actor has % bytes, at most 2500 are allowed', octet_length(p_actor)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name the actor by an id; the rest may go into metadata.';
    END IF;
    IF jsonb_typeof(p_metadata) <> 'object' THEN
        RAISE EXCEPTION 'metadata must be a JSON object, got %', p_metadata
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass names and values, such as {"reason": "refund", "ticket": 17}.';
    END IF;
    PERFORM set_config('audit.context', (
        SELECT COALESCE(jsonb_object_agg(name, value)::text, '')
          FROM (VALUES ('actor', to_jsonb(p_actor)), ('metadata', p_metadata),
                       ('actor_type', to_jsonb(p_actor_type)),
                       ('actor_label', to_jsonb(p_actor_label))) AS given (name, value)
         WHERE value IS NOT NULL), true);
END;
$set_context$;

COMMENT ON FUNCTION audit.set_context(text, jsonb, text, text) IS
    'Set actor and metadata for the rest of the running transaction, or until the next call. '
    'Arguments: actor (who is accountable, such as a user id; up to 2500 bytes), metadata (JSON '
    'object: reason, request id, ticket ...), actor type (user, service, ...), actor label '
    '(readable name). Outside a transaction block it ends with its own statement.';
REVOKE ALL ON FUNCTION audit.set_context(text, jsonb, text, text) FROM PUBLIC;
