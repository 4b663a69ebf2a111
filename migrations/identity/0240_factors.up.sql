-- What somebody can prove who they are with besides a password: confirmed, and of the recovery codes one that is left.
CREATE VIEW factors AS
SELECT DISTINCT user_id, kind FROM credentials
WHERE kind <> 'oidc' AND confirmed_at IS NOT NULL AND (kind <> 'recovery' OR last_used_at IS NULL);
