DROP INDEX audit_private_nobodys;
