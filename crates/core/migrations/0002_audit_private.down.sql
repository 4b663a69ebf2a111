DROP TABLE audit_private;
