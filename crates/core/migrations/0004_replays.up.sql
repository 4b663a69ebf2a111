-- What is about nobody is deleted after a while; what is about people is not looked at for that.
CREATE INDEX audit_private_nobodys ON audit_private (entry_id) WHERE user_id IS NULL;
