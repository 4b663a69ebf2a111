DROP TABLE sign_in_attempts;
DROP TABLE email_codes;
DROP TABLE login_history;
DROP TABLE users;
