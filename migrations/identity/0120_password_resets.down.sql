DROP TABLE password_resets;
DROP TABLE password_reset_requests;
